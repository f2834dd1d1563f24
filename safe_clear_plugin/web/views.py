"""The Flask-AppBuilder view: guard, form, service, page."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Response, jsonify, redirect, request
from flask_appbuilder import BaseView, expose
from werkzeug.datastructures import MultiDict

from safe_clear_plugin.airflow_api import auth
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.services import results
from safe_clear_plugin.services.preview import make_plan
from safe_clear_plugin.services.undo_preview import preview_undo
from safe_clear_plugin.storage import reading
from safe_clear_plugin.web import (
    changing,
    csv_export,
    finding_pages,
    grid_pages,
    guard,
    history_pages,
    pages,
    payloads,
    plan_pages,
    receipt_pages,
    select_pages,
    table_pages,
    undo_pages,
)
from safe_clear_plugin.web.access import clearable_plan, readable_plan, require_may_clear
from safe_clear_plugin.web.bodies import NO_RUN, json_body, storable
from safe_clear_plugin.web.forms import SelectionForm, filled, from_json, task_regex_of
from safe_clear_plugin.web.identity import CSRF_FIELD, caller
from safe_clear_plugin.web.paging import number
from safe_clear_plugin.web.unsupported import unsupported_json
from safe_clear_plugin.web.unticking import plan_without

MAX_FORM_BYTES = 4 * 1024 * 1024
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
BROWSER_TIMEZONE = "browser_timezone"


class SafeClearView(BaseView):
    """Select, preview, confirm, watch, undo, look back."""

    route_base = pages.ROUTE_BASE
    default_view = "select"

    def create_blueprint(self, appbuilder: Any, endpoint: Any = None, static_folder: Any = None) -> Blueprint:
        """Make the blueprint with our own static folder, and put the guard before it."""
        del endpoint, static_folder
        static: Path = pages.folder("static")
        blueprint = super().create_blueprint(appbuilder, endpoint=pages.ENDPOINT, static_folder=str(static))
        # The limits come first: the guard reads the form for its token.
        blueprint.before_request(_allow_long_forms)
        guard.protect(blueprint)
        return cast(Blueprint, blueprint)

    @expose("/")
    def select(self) -> str:
        """The empty form, or one that the query or an earlier plan fills in."""
        if "plan" in request.args:
            return select_pages.select_page(filled(clearable_plan(request.args["plan"]).selection))
        given: MultiDict[str, str] = MultiDict(request.args)
        if (task_id := given.pop("task_id", "")) and not given.get("task_regex"):
            given["task_regex"] = "" if task_id.startswith("{") else task_regex_of(task_id)
        form = SelectionForm(given)
        _require_may_clear_dag_of(form)
        return select_pages.select_page(form)

    @expose("/<path:address>", methods=METHODS)
    def nowhere(self, address: str) -> Any:
        """Any other address or method: our own page, since Airflow's sets its session cookie."""
        what = "page" if request.method in guard.SAFE_METHODS else f"address for {request.method}"
        raise Refused(404, Problem(f"There is no {what} {address} here.", "Start with a new plan."))

    @expose("/plans/<plan_id>/<any(apply, ask, decline, stop, rest, without, widen):step>")
    def step(self, plan_id: str, step: str) -> Any:
        """The address of a form, which the browser shows while the answer stands there: back to the plan."""
        if guard.wants_json():
            raise Refused(405, Problem(f"{step} takes a POST.", "Nothing is done by looking at it."))
        return redirect(pages.url("plan", plan_id=plan_id), 303)

    @expose("/dags.json")
    def dags_json(self) -> Response:
        """The DAGs that the caller may clear and whose id contains ``q``, the first fifty."""
        return jsonify(select_pages.dags_json(request.args))

    @expose("/answers", methods=["POST"])
    def answers(self) -> Any:
        """What the form says so far would take, as parts of its page; writes nothing."""
        form, errors = _read_form(besides=(BROWSER_TIMEZONE,))
        if errors:
            return jsonify(errors=errors), 422
        _require_may_clear_dag_of(form)
        return select_pages.answers_part(form, _browser_timezone())

    @expose("/plans", methods=["POST"])
    def create_plan(self) -> Any:
        """Resolve the selection and store the plan; the page goes on to it, a program gets it."""
        form, errors = _read_form()
        _require_may_clear_dag_of(form)
        rest: list[Problem] = []
        if not errors and form.check():
            try:
                plan = make_plan(form.selection(), auth.actor(caller().user), _now())
            except Invalid as invalid:
                rest = form.add_problems(invalid.problems)
            else:
                return changing.planned(plan)
        if guard.wants_json():
            found = {**{name: list(map(str, e)) for name, e in form.errors.items()}, **errors}
            if rest:
                found[""] = [str(problem) for problem in rest]
            return jsonify(errors=found), 422
        rest += [Problem(f"{name}: {text}", "") for name, texts in errors.items() for text in texts]
        return select_pages.select_page(form, rest), 422

    @expose("/plans")
    def plans(self) -> str:
        """The plans of the DAGs that the caller may read."""
        with new_session() as session:
            return history_pages.plans_page(request.args, _now(), session)

    @expose("/plans.json")
    def plans_json(self) -> Any:
        """The same, for programs."""
        filters = history_pages.read_filters(request.args)
        if filters.problems:
            raise Refused(422, Problem(" ".join(filters.problems), "Mend the filter, or leave it out."))
        with new_session() as session:
            found = history_pages.listing(filters, request.args, _now(), session)
        items = [payloads.summary_json(plan, _now()) for plan in found.plans]
        return jsonify(total=found.page.total, items=items, unsupported=unsupported_json())

    @expose("/plans/<plan_id>")
    def plan(self, plan_id: str) -> str:
        """The plan to confirm, how far it is, what moved since, or what became of it."""
        plan = readable_plan(plan_id)
        with new_session() as session:
            may_clear = auth.may_clear(plan.dag_id, caller().user)
            return plan_pages.plan_page(plan, request.args, may_clear=may_clear, session=session)

    @expose("/plans/<plan_id>.json")
    def plan_json(self, plan_id: str) -> Response:
        """The plan, for programs."""
        plan = readable_plan(plan_id)
        with new_session() as session:
            return jsonify(payloads.plan_json(plan, _now(), session))

    @expose("/plans/<plan_id>/task_instances.json")
    def task_instances(self, plan_id: str) -> Response:
        """A page of the plan's task instances, for programs."""
        plan = readable_plan(plan_id)
        offset = number(request.args, "offset", 0, 0, 2**31)
        limit = number(request.args, "limit", 100, 1, 1_000)
        wanted = table_pages.row_filter(request.args)
        with new_session() as session:
            rows = reading.task_instances(UUID(plan.id), wanted, session, offset=offset, limit=limit)
            total = reading.count_task_instances(UUID(plan.id), wanted, session)
        return jsonify(total=total, items=[payloads.task_instance_json(row) for row in rows])

    @expose("/plans/<plan_id>/task_instances.csv")
    def task_instances_csv(self, plan_id: str) -> Response:
        """The plan's task instances that a filter lets through, as a file."""
        return csv_export.download(readable_plan(plan_id), request.args)

    @expose("/plans/<plan_id>/grid")
    def grid(self, plan_id: str) -> str:
        """A part of the grid, to take the place of the one on the page."""
        plan = readable_plan(plan_id)
        with new_session() as session:
            return grid_pages.page(plan, request.args, session)

    @expose("/plans/<plan_id>/rows")
    def rows(self, plan_id: str) -> str:
        """A page of the table, to take the place of the one on the page."""
        plan = readable_plan(plan_id)
        with new_session() as session:
            tickable = auth.may_clear(plan.dag_id, caller().user) and not plan.expired(_now())
            return table_pages.page(plan, request.args, session, tickable=tickable)

    @expose("/plans/<plan_id>/without", methods=["POST"])
    def without(self, plan_id: str) -> Any:
        """Plan the same without what was unticked."""
        plan = clearable_plan(plan_id)
        return changing.planned(plan_without(plan, request.form, auth.actor(caller().user), _now()))

    @expose("/plans/<plan_id>/findings/<code>")
    def finding(self, plan_id: str, code: str) -> str:
        """A finding of the plan, and the task instances behind it."""
        plan = readable_plan(plan_id)
        with new_session() as session:
            return finding_pages.finding_page(plan, code, request.args, session)

    @expose("/plans/<plan_id>/findings/<code>.json")
    def finding_json(self, plan_id: str, code: str) -> Response:
        """The same, for programs."""
        plan = readable_plan(plan_id)
        with new_session() as session:
            return jsonify(finding_pages.rows_json(plan, code, request.args, session))

    @expose("/plans/<plan_id>/widen", methods=["POST"])
    def widen(self, plan_id: str) -> Any:
        """Plan the same with what a finding proposes switched on."""
        plan = clearable_plan(plan_id)
        return changing.planned(finding_pages.widened(plan, auth.actor(caller().user), _now()))

    @expose("/plans/<plan_id>/progress.json")
    def progress(self, plan_id: str) -> Response:
        """How far clear and undo are, and the states of the cleared task instances now."""
        plan, now = readable_plan(plan_id), _now()
        goes_on = results.goes_on(plan, now)
        interrupted = plan.status == "applying" and not goes_on
        with new_session() as session:
            states = None if goes_on or plan.undoing else results.progress(plan, now, session)
            undo = receipt_pages.undo_step(plan, session)
        return jsonify(payloads.progress_json(plan, undo, states, interrupted=interrupted, now=now))

    @expose("/plans/<plan_id>/apply", methods=["POST"])
    def apply(self, plan_id: str) -> Any:
        """Clear the next batch of what was shown."""
        return changing.apply(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/ask", methods=["POST"])
    def ask(self, plan_id: str) -> Any:
        """Ask for a second person to apply the plan."""
        return changing.ask(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/decline", methods=["POST"])
    def decline(self, plan_id: str) -> Any:
        """Decline, or withdraw, a plan that waits for approval."""
        return changing.decline(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/stop", methods=["POST"])
    def stop(self, plan_id: str) -> Any:
        """Clear no further batch."""
        return changing.stop(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/rest", methods=["POST"])
    def rest(self, plan_id: str) -> Any:
        """Plan what is left, without what moved."""
        return changing.rest(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/undo")
    def undo_preview(self, plan_id: str) -> str:
        """What an undo would put back now, and what would stay."""
        plan, now = clearable_plan(plan_id), _now()
        run_ids = _run_ids()
        return undo_pages.undo_page(plan, preview_undo(plan, now, run_ids), run_ids, now)

    @expose("/plans/<plan_id>/undo.json")
    def undo_preview_json(self, plan_id: str) -> Response:
        """The same, for programs."""
        plan = clearable_plan(plan_id)
        return jsonify(payloads.undo_preview_json(plan, preview_undo(plan, _now(), _run_ids())))

    @expose("/plans/<plan_id>/undo", methods=["POST"])
    def undo(self, plan_id: str) -> Any:
        """Put the next batch back."""
        return changing.undo(clearable_plan(plan_id))


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _allow_long_forms() -> None:
    # Long lists of run ids are legitimate; Airflow 3.2's Werkzeug stops at 500 kB by itself.
    request.max_form_memory_size = MAX_FORM_BYTES
    request.max_content_length = MAX_FORM_BYTES


def _browser_timezone() -> str:
    body = json_body() if request.is_json else request.form
    return str(body.get(BROWSER_TIMEZONE) or "")


def _read_form(besides: Collection[str] = ()) -> tuple[SelectionForm, dict[str, list[str]]]:
    """Read the form from form data or JSON; a name that it does not have is an error, not ignored."""
    errors: dict[str, list[str]] = {}
    given: MultiDict[str, str] = request.form
    if request.is_json:
        given, errors = from_json(json_body())
    form = SelectionForm(given)
    for name in given:
        if name not in form and name != CSRF_FIELD and name not in besides:
            errors.setdefault(name, []).append("There is no such field.")
    return form, errors


def _run_ids() -> list[str]:
    """Return the dag runs that the query names, each once; none means all of them.

    :raises Refused: 422 when a run id is given, but empty
    """
    given = dict.fromkeys(request.args.getlist("run_id"))
    run_ids = [storable(one) for one in given if one.strip()]
    if given and not run_ids:
        raise Refused(422, NO_RUN)
    return run_ids


def _require_may_clear_dag_of(form: SelectionForm) -> None:
    """Ask for the form's DAG, unless it is missing or no database could hold its name."""
    if form.dag_id.validate(form):
        require_may_clear(form.dag_id.data or "")
    form.dag_id.errors = []
