"""The Flask-AppBuilder view: guard, form, service, page."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Response, jsonify, redirect, request
from flask_appbuilder import BaseView, expose

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.services.clear import rerun_progress
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.planning.time_limit import TookTooLong
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.web import actions, plan_list
from safe_clear_plugin.web.api import form_data, openapi
from safe_clear_plugin.web.api.bodies import AnswersRequest, ExcludeRequest, SelectionRequest, WidenRequest
from safe_clear_plugin.web.api.mistakes import Mistakes
from safe_clear_plugin.web.api.queries import (
    DagsQuery,
    FindingQuery,
    PageQuery,
    PlanQuery,
    PlansQuery,
    RowsPageQuery,
    SelectQuery,
    SortedRowsQuery,
    UndoQuery,
)
from safe_clear_plugin.web.api.request_reader import body_values, read_body, read_query, validate
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.app import authorization, request_hooks, serializers, templating
from safe_clear_plugin.web.app.authorization import clearable_plan, readable_plan, require_may_clear
from safe_clear_plugin.web.app.csrf import SAFE_METHODS
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.unsupported import unsupported_json
from safe_clear_plugin.web.grid import grid_page
from safe_clear_plugin.web.plan import csv_export, finding_page, plan_page, table_page
from safe_clear_plugin.web.plan.exclude_rows import plan_without
from safe_clear_plugin.web.receipt import receipt_page, undo_page
from safe_clear_plugin.web.select import select_page
from safe_clear_plugin.web.select.draft import draft_of
from safe_clear_plugin.web.select.form import SelectionForm, filled, task_regex_of, without_placeholders

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class SafeClearView(BaseView):
    """Select, preview, confirm, watch, undo, look back."""

    route_base = templating.ROUTE_BASE
    default_view = "select"

    def create_blueprint(self, appbuilder: Any, endpoint: Any = None, static_folder: Any = None) -> Blueprint:
        """Make the blueprint with our own static folder, and put the guard before it."""
        del endpoint, static_folder
        static: Path = templating.folder("static")
        blueprint = super().create_blueprint(
            appbuilder, endpoint=templating.ENDPOINT, static_folder=str(static)
        )
        # The limits come first: the guard reads the form for its token.
        blueprint.before_request(_allow_long_forms)
        request_hooks.protect(blueprint)
        return cast(Blueprint, blueprint)

    @expose("/")
    def select(self) -> str:
        """The empty form, or one that the query or an earlier plan fills in."""
        return select_page.select_page(_linked_form())

    @expose("/<path:address>", methods=METHODS)
    def nowhere(self, address: str) -> Any:
        """Any other address or method: our own page, since Airflow's sets its session cookie."""
        what = "page" if request.method in SAFE_METHODS else f"address for {request.method}"
        shown = input_limits.shortened(address)
        raise Refused(404, Problem(f"No {what} {shown} here.", "Start with a new plan."))

    @expose("/plans/<plan_id>/<any(apply, ask, decline, stop, rest, without, widen):step>")
    def step(self, plan_id: str, step: str) -> Any:
        """The address of a form, which the browser shows while the answer stands there: back to the plan."""
        if request_hooks.wants_json():
            raise Refused(405, Problem(f"{step} accepts POST only.", "Nothing was done."))
        return redirect(templating.url("plan", plan_id=plan_id), 303)

    @expose("/openapi.json")
    def openapi(self) -> Response:
        """All that requests may say and what is answered, for programs."""
        read_query(Empty)
        return jsonify(openapi.document(request.script_root, version("airflow-safe-clear")))

    @expose("/dags.json")
    def dags_json(self) -> Response:
        """The DAGs that the caller may clear and whose id contains ``q``, the first fifty."""
        return jsonify(select_page.dags_json(read_query(DagsQuery)))

    @expose("/answers", methods=["POST"])
    def answers(self) -> Any:
        """What the form says so far would take, as parts of its page; writes nothing."""
        read_query(Empty)
        values, mistakes = body_values(AnswersRequest)
        if mistakes:
            raise mistakes.refusal(form_data.shapes(AnswersRequest))
        draft = draft_of(values, mistakes)
        if draft.selection.dag_id:
            require_may_clear(draft.selection.dag_id)
        return select_page.answers_part(draft)

    @expose("/plans", methods=["POST"])
    def create_plan(self) -> Any:
        """Resolve the selection and store the plan; the page goes on to it, a program gets it."""
        read_query(Empty)
        values, mistakes = body_values(SelectionRequest)
        wanted = validate(SelectionRequest, values, mistakes)
        if "dag_id" in values and "dag_id" not in mistakes.by_field:
            require_may_clear(values["dag_id"])
        if wanted is not None:
            try:
                return actions.planned(
                    make_plan(wanted.selection(), permissions.actor(caller().user), _now())
                )
            except Invalid as invalid:
                for problem in invalid.problems:
                    mistakes.add(problem.field or "", str(problem))
        if request_hooks.wants_json() or _is_too_long_to_show(mistakes, request.content_length):
            raise mistakes.refusal(form_data.shapes(SelectionRequest))
        form = SelectionForm(request.form)
        form.add_errors(mistakes.by_field)
        return select_page.select_page(form, _of_no_field(mistakes)), 422

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
            found = plan_list.listing(query, _now(), session)
        items = [serializers.summary_json(plan, _now()) for plan in found.plans]
        return jsonify(total=found.page.total, items=items, unsupported=unsupported_json())

    @expose("/plans/<plan_id>")
    def plan(self, plan_id: str) -> str:
        """The plan to confirm, how far it is, what moved since, or what became of it."""
        plan, query = readable_plan(plan_id), read_query(PlanQuery, page=True)
        with new_session() as session:
            return plan_page.plan_page(plan, query, may_clear=authorization.may_clear(plan), session=session)

    @expose("/plans/<plan_id>.json")
    def plan_json(self, plan_id: str) -> Response:
        """The plan with a page of its dag runs, for programs."""
        plan, query = readable_plan(plan_id), read_query(PageQuery)
        with new_session() as session:
            return jsonify(serializers.plan_json(plan, _now(), session, query))

    @expose("/plans/<plan_id>/task_instances.json")
    def task_instances(self, plan_id: str) -> Response:
        """A page of the plan's task instances, for programs."""
        plan, query = readable_plan(plan_id), read_query(RowsPageQuery)
        wanted = table_page.row_filter(query)
        with new_session() as session:
            rows = plan_reader.task_instances(
                UUID(plan.id), wanted, session, offset=query.offset, limit=query.limit
            )
            total = plan_reader.count_task_instances(UUID(plan.id), wanted, session)
        return jsonify(total=total, items=[serializers.task_instance_json(row) for row in rows])

    @expose("/plans/<plan_id>/task_instances.csv")
    def task_instances_csv(self, plan_id: str) -> Response:
        """The plan's task instances that a filter lets through, as a file."""
        return csv_export.download(readable_plan(plan_id), read_query(SortedRowsQuery))

    @expose("/plans/<plan_id>/grid")
    def grid(self, plan_id: str) -> str:
        """A part of the grid, to take the place of the one on the page."""
        plan, query = readable_plan(plan_id), read_query(PlanQuery, page=True)
        with new_session() as session:
            return grid_page.page(plan, query, session)

    @expose("/plans/<plan_id>/rows")
    def rows(self, plan_id: str) -> str:
        """A page of the table, to take the place of the one on the page."""
        plan, query = readable_plan(plan_id), read_query(PlanQuery, page=True)
        with new_session() as session:
            tickable = authorization.may_clear(plan) and not plan.expired(_now())
            return table_page.page(plan, query, session, tickable=tickable)

    @expose("/plans/<plan_id>/without", methods=["POST"])
    def without(self, plan_id: str) -> Any:
        """Plan the same without what was unticked."""
        plan = clearable_plan(plan_id)
        asked = read_body(ExcludeRequest)
        return actions.planned(plan_without(plan, asked, permissions.actor(caller().user), _now()))

    @expose("/plans/<plan_id>/findings/<code>")
    def finding(self, plan_id: str, code: str) -> str:
        """A finding of the plan, and the task instances behind it."""
        plan, query = readable_plan(plan_id), read_query(FindingQuery, page=True)
        with new_session() as session:
            return finding_page.finding_page(plan, code, query, session)

    @expose("/plans/<plan_id>/findings/<code>.json")
    def finding_json(self, plan_id: str, code: str) -> Response:
        """The same, for programs."""
        plan, query = readable_plan(plan_id), read_query(PageQuery)
        with new_session() as session:
            return jsonify(finding_page.rows_json(plan, code, query, session))

    @expose("/plans/<plan_id>/widen", methods=["POST"])
    def widen(self, plan_id: str) -> Any:
        """Plan the same with what a finding proposes switched on."""
        plan = clearable_plan(plan_id)
        field = read_body(WidenRequest).field
        return actions.planned(finding_page.widened(plan, field, permissions.actor(caller().user), _now()))

    @expose("/plans/<plan_id>/progress.json")
    def progress(self, plan_id: str) -> Response:
        """How far clear and undo are, and the states of the cleared task instances now."""
        plan, now = readable_plan(plan_id), _now()
        read_query(Empty)
        goes_on = rerun_progress.goes_on(plan, now)
        interrupted = plan.status == "applying" and not goes_on
        with new_session() as session:
            states = None if goes_on or plan.undoing else rerun_progress.progress(plan, now, session)
            undo = receipt_page.undo_step(plan, session)
        return jsonify(serializers.progress_json(plan, undo, states, interrupted=interrupted, now=now))

    @expose("/plans/<plan_id>/apply", methods=["POST"])
    def apply(self, plan_id: str) -> Any:
        """Clear the next batch of what was shown."""
        return actions.apply(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/ask", methods=["POST"])
    def ask(self, plan_id: str) -> Any:
        """Ask for a second person to apply the plan."""
        return actions.ask(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/decline", methods=["POST"])
    def decline(self, plan_id: str) -> Any:
        """Decline, or withdraw, a plan that waits for approval."""
        return actions.decline(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/stop", methods=["POST"])
    def stop(self, plan_id: str) -> Any:
        """Clear no further batch."""
        return actions.stop(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/rest", methods=["POST"])
    def rest(self, plan_id: str) -> Any:
        """Plan what is left, without what moved."""
        return actions.rest(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/undo")
    def undo_preview(self, plan_id: str) -> Any:
        """What an undo would put back now, and what would stay."""
        plan, now = clearable_plan(plan_id), _now()
        run_ids = read_query(UndoQuery, page=True).run_ids
        try:
            found = preview_undo(plan, now, run_ids)
        except TookTooLong as late:
            if request_hooks.wants_json():
                raise
            return undo_page.uncounted_page(plan, late.problem, run_ids, now), late.status
        return undo_page.undo_page(plan, found, run_ids, now)

    @expose("/plans/<plan_id>/undo.json")
    def undo_preview_json(self, plan_id: str) -> Response:
        """The same, for programs."""
        plan = clearable_plan(plan_id)
        run_ids = read_query(UndoQuery).run_ids
        return jsonify(serializers.undo_preview_json(plan, preview_undo(plan, _now(), run_ids)))

    @expose("/plans/<plan_id>/undo", methods=["POST"])
    def undo(self, plan_id: str) -> Any:
        """Put the next batch back."""
        return actions.undo(clearable_plan(plan_id))


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _allow_long_forms() -> None:
    # Long lists of run ids are legitimate; Airflow 3.2's Werkzeug stops at 500 kB by itself.
    request.max_form_memory_size = input_limits.BODY_BYTES
    request.max_content_length = input_limits.BODY_BYTES


def _linked_form() -> SelectionForm:
    """Return the form as a link fills it in; values that cannot be used are said on its page."""
    args = without_placeholders(request.args)
    values, mistakes = form_data.read(args, SelectQuery, blank_is_absent=True)
    if mistakes:
        raise mistakes.refusal(form_data.shapes(SelectQuery))
    validate(SelectQuery, values, mistakes)
    if _is_too_long_to_show(mistakes, len(request.query_string)):
        raise mistakes.refusal(form_data.shapes(SelectQuery))
    if "plan" in values:
        if len(values) > 1:
            raise Refused(422, Problem("`plan` fills in the whole form.", "Leave the other fields out."))
        return filled(clearable_plan(values["plan"]).selection)
    if dag_id := "" if "dag_id" in mistakes.by_field else values.get("dag_id", ""):
        require_may_clear(dag_id)
    if task_id := args.pop("task_id", ""):
        args.setdefault("task_regex", task_regex_of(task_id))
    return SelectionForm(args)


def _is_too_long_to_show(mistakes: Mistakes, size: int | None) -> bool:
    return mistakes.too_long and (size is None or size > input_limits.ECHOED_BYTES)


def _of_no_field(mistakes: Mistakes) -> list[Problem]:
    """Return what is wrong with a selection, but with none of its fields."""
    unknown = [Problem(f"Unknown field `{name}`.", "Leave it out.") for name in mistakes.unknown]
    return unknown + [Problem(text, "") for text in mistakes.by_field.get("", [])]
