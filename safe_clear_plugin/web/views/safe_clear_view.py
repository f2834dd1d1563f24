"""The Flask-AppBuilder view: each of its methods reads a request, calls a service and answers."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from flask import Blueprint, Response, jsonify, request
from flask_appbuilder import BaseView, expose

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services.session import new_session
from safe_clear_plugin.services.webhook.undelivered import plans_with_undelivered
from safe_clear_plugin.web.api import openapi, serializers
from safe_clear_plugin.web.api.queries import HistoryQuery, PlansQuery
from safe_clear_plugin.web.api.request_reader import read_query
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.app import assets, request_hooks, templating
from safe_clear_plugin.web.app.csrf import SAFE_METHODS
from safe_clear_plugin.web.app.unsupported import unsupported_json
from safe_clear_plugin.web.history import history_json, history_page
from safe_clear_plugin.web.views import plan_list
from safe_clear_plugin.web.views.action_views import ActionViews
from safe_clear_plugin.web.views.change_set_page_views import ChangeSetPageViews
from safe_clear_plugin.web.views.change_set_views import ChangeSetViews
from safe_clear_plugin.web.views.failed_views import FailedViews
from safe_clear_plugin.web.views.help_views import HelpViews
from safe_clear_plugin.web.views.plan_views import PlanViews
from safe_clear_plugin.web.views.selection_views import SelectionViews
from safe_clear_plugin.web.views.tab_views import TabViews
from safe_clear_plugin.web.views.waiting_views import WaitingViews

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class SafeClearView(
    FailedViews,
    SelectionViews,
    TabViews,
    PlanViews,
    ActionViews,
    ChangeSetPageViews,
    ChangeSetViews,
    WaitingViews,
    HelpViews,
    BaseView,
):
    """Select, preview, confirm, watch, undo, look back."""

    route_base = templating.ROUTE_BASE
    default_view = "start"

    def create_blueprint(self, appbuilder: Any, endpoint: Any = None, static_folder: Any = None) -> Blueprint:
        """Make the blueprint with our own static folder, and put the guard before it."""
        del endpoint, static_folder
        static: Path = templating.template_dir("static")
        blueprint = super().create_blueprint(
            appbuilder, endpoint=templating.ENDPOINT, static_folder=str(static)
        )
        # The limits come first: the guard reads the form for its token.
        blueprint.before_request(_allow_long_forms)
        request_hooks.protect(blueprint)
        return cast(Blueprint, blueprint)

    @expose("/static/<digest>/<file>")
    def asset(self, digest: str, file: str) -> Response:
        """The style or the script of a page; the browser keeps it if the address has the current digest."""
        page, _, kind = file.rpartition(".")
        bundle = assets.bundles(templating.template_dir("static")).get((page, cast(assets.Kind, kind)))
        if bundle is None:
            raise Refused(404, Problem("This file doesn't exist.", "Reload the page."))
        response = Response(bundle.content, mimetype=assets.MIMETYPES[cast(assets.Kind, kind)])
        # While an upgrade is rolled out, a page and its files may come from servers of two versions.
        response.headers["Cache-Control"] = assets.FOR_EVER if digest == bundle.digest else "no-store"
        return response

    @expose("/<path:address>", methods=METHODS)
    def not_found(self, address: str) -> Any:
        """Any other address or method: our own page, since Airflow's sets its session cookie."""
        what = "page" if request.method in SAFE_METHODS else f"address for {request.method}"
        shown = input_limits.shortened(address)
        raise Refused(404, Problem(f"No {what} {shown} here.", "Start with a new plan."))

    @expose("/openapi.json")
    def openapi(self) -> Response:
        """The OpenAPI document: requests and answers, for programs."""
        read_query(Empty)
        return jsonify(openapi.document(request.script_root, version("airflow-safe-clear")))

    @expose("/plans")
    def plans(self) -> str:
        """The history of the DAGs that the caller may read, or the caller's drafts."""
        query = read_query(HistoryQuery, page=True)
        with new_session() as session:
            return history_page.history_page(query, utcnow(), session)

    @expose("/history.json")
    def history_json(self) -> Response:
        """The history, for programs."""
        query = read_query(HistoryQuery)
        with new_session() as session:
            found = history_page.find_history(query, utcnow(), session)
        return jsonify(history_json.history_json(found, utcnow()))

    @expose("/plans.json")
    def plans_json(self) -> Any:
        """The plans of the DAGs that the caller may read, with everybody's drafts, for programs."""
        query = read_query(PlansQuery)
        with new_session() as session:
            found = plan_list.listed_plans(query, utcnow(), session)
            undelivered = sorted(plans_with_undelivered(found.plans, session))
        items = [serializers.summary_json(plan, utcnow()) for plan in found.plans]
        return jsonify(
            total=found.total, items=items, undelivered=undelivered, unsupported=unsupported_json()
        )


def _allow_long_forms() -> None:
    # Long lists of run ids are legitimate; Airflow 3.2's Werkzeug stops at 500 kB by itself.
    request.max_form_memory_size = input_limits.BODY_BYTES
    request.max_content_length = input_limits.BODY_BYTES
