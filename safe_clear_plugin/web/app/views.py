"""The Flask-AppBuilder view: each of its methods reads a request, calls a service and answers."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from flask import Blueprint, Response, jsonify, request
from flask_appbuilder import BaseView, expose

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services.session import new_session
from safe_clear_plugin.web import plan_list
from safe_clear_plugin.web.api import openapi, serializers
from safe_clear_plugin.web.api.queries import PlansQuery
from safe_clear_plugin.web.api.request_reader import read_query
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.app import request_hooks, templating
from safe_clear_plugin.web.app.action_views import ActionViews
from safe_clear_plugin.web.app.csrf import SAFE_METHODS
from safe_clear_plugin.web.app.plan_views import PlanViews
from safe_clear_plugin.web.app.selection_views import SelectionViews
from safe_clear_plugin.web.app.unsupported import unsupported_json

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class SafeClearView(SelectionViews, PlanViews, ActionViews, BaseView):
    """Select, preview, confirm, watch, undo, look back."""

    route_base = templating.ROUTE_BASE
    default_view = "select"

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

    @expose("/<path:address>", methods=METHODS)
    def not_found(self, address: str) -> Any:
        """Any other address or method: our own page, since Airflow's sets its session cookie."""
        what = "page" if request.method in SAFE_METHODS else f"address for {request.method}"
        shown = input_limits.shortened(address)
        raise Refused(404, Problem(f"No {what} {shown} here.", "Start with a new plan."))

    @expose("/openapi.json")
    def openapi(self) -> Response:
        """All that requests may say and what is answered, for programs."""
        read_query(Empty)
        return jsonify(openapi.document(request.script_root, version("airflow-safe-clear")))

    @expose("/plans")
    def plans(self) -> str:
        """The plans of the DAGs that the caller may read."""
        query = read_query(PlansQuery, page=True)
        with new_session() as session:
            return plan_list.plans_page(query, _now(), session)

    @expose("/plans.json")
    def plans_json(self) -> Any:
        """The same, for programs."""
        query = read_query(PlansQuery)
        with new_session() as session:
            found = plan_list.listed_plans(query, _now(), session)
        items = [serializers.summary_json(plan, _now()) for plan in found.plans]
        return jsonify(total=found.total, items=items, unsupported=unsupported_json())


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _allow_long_forms() -> None:
    # Long lists of run ids are legitimate; Airflow 3.2's Werkzeug stops at 500 kB by itself.
    request.max_form_memory_size = input_limits.BODY_BYTES
    request.max_content_length = input_limits.BODY_BYTES
