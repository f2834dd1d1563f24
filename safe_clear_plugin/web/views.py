"""The Flask-AppBuilder view: guard, form, service, page."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Response, jsonify, redirect, request
from flask_appbuilder import BaseView, expose
from werkzeug.datastructures import MultiDict

from safe_clear_plugin.airflow_api import auth
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.services import results
from safe_clear_plugin.services.apply import apply_plan
from safe_clear_plugin.services.preview import make_plan
from safe_clear_plugin.storage import reading
from safe_clear_plugin.web import guard, pages, payloads, plan_pages
from safe_clear_plugin.web.forms import SelectionForm, filled, from_json, task_regex_of
from safe_clear_plugin.web.identity import CSRF_FIELD, caller

MAX_FORM_BYTES = 4 * 1024 * 1024
REASON_LENGTH = 2_000


class SafeClearView(BaseView):
    """Select, preview, confirm, watch."""

    route_base = "/safe_clear"
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
            return plan_pages.select_page(filled(_clearable_plan(request.args["plan"]).selection))
        given: MultiDict[str, str] = MultiDict(request.args)
        if (task_id := given.pop("task_id", "")) and not given.get("task_regex"):
            given["task_regex"] = "" if task_id.startswith("{") else task_regex_of(task_id)
        form = SelectionForm(given)
        _require_may_clear_dag_of(form)
        return plan_pages.select_page(form)

    @expose("/<path:address>")
    def nowhere(self, address: str) -> Any:
        """Any other address: our own page, since Airflow's sets its session cookie."""
        raise Refused(404, Problem(f"There is no page {address} here.", "Start with a new plan."))

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
                return _plan_created(plan)
        if guard.wants_json():
            found = {**{name: list(map(str, e)) for name, e in form.errors.items()}, **errors}
            if rest:
                found[""] = [str(problem) for problem in rest]
            return jsonify(errors=found), 422
        rest += [Problem(f"{name}: {text}", "") for name, texts in errors.items() for text in texts]
        return plan_pages.select_page(form, rest), 422

    @expose("/plans/<plan_id>")
    def plan(self, plan_id: str) -> Any:
        """The plan to confirm, what moved since, or what became of it."""
        plan = results.settle(_readable_plan(plan_id), _now())
        with new_session() as session:
            may_clear = auth.may_clear(plan.dag_id, caller().user)
            return plan_pages.plan_page(plan, request.args, may_clear=may_clear, session=session)

    @expose("/plans/<plan_id>.json")
    def plan_json(self, plan_id: str) -> Response:
        """The plan, for programs."""
        plan = results.settle(_readable_plan(plan_id), _now())
        with new_session() as session:
            return jsonify(payloads.plan_json(plan, _now(), session))

    @expose("/plans/<plan_id>/task_instances.json")
    def task_instances(self, plan_id: str) -> Response:
        """A page of the plan's task instances, for programs."""
        plan = _readable_plan(plan_id)
        offset = plan_pages.number(request.args, "offset", 0, 0, 2**31)
        limit = plan_pages.number(request.args, "limit", 100, 1, 1_000)
        wanted = plan_pages.row_filter(request.args)
        with new_session() as session:
            rows = reading.task_instances(UUID(plan.id), wanted, session, offset=offset, limit=limit)
            total = reading.count_task_instances(UUID(plan.id), wanted, session)
        return jsonify(total=total, items=[payloads.task_instance_json(row) for row in rows])

    @expose("/plans/<plan_id>/progress.json")
    def progress(self, plan_id: str) -> Response:
        """The states of the cleared task instances now."""
        plan = _readable_plan(plan_id)
        with new_session() as session:
            return jsonify(payloads.progress_json(results.progress(plan, _now(), session)))

    @expose("/plans/<plan_id>/apply", methods=["POST"])
    def apply(self, plan_id: str) -> Any:
        """Clear what was shown."""
        plan = _clearable_plan(plan_id)
        fingerprint, reason = _read_confirmation()
        try:
            plan = apply_plan(plan, fingerprint, reason, auth.actor(caller().user), _now())
        except Refused as refused:
            if guard.wants_json() or "drift" not in refused.details:
                raise
            with new_session() as session:
                stale = _readable_plan(plan_id)
                return plan_pages.plan_page(
                    stale, request.args, may_clear=True, session=session
                ), refused.status
        if guard.wants_json():
            with new_session() as session:
                body = payloads.plan_json(plan, _now(), session)
            return (jsonify(body), 200) if plan.status == "applied" else (jsonify(_stopped(plan, body)), 409)
        return redirect(pages.url("plan", plan_id=plan.id), code=303)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _allow_long_forms() -> None:
    # Long lists of run ids are legitimate; Airflow 3.2's Werkzeug stops at 500 kB by itself.
    request.max_form_memory_size = MAX_FORM_BYTES
    request.max_content_length = MAX_FORM_BYTES


def _read_form() -> tuple[SelectionForm, dict[str, list[str]]]:
    """Read the form from form data or JSON; a name that it does not have is an error, not ignored."""
    errors: dict[str, list[str]] = {}
    given: MultiDict[str, str] = request.form
    if request.is_json:
        given, errors = from_json(_json_body())
    form = SelectionForm(given)
    for name in given:
        if name not in form and name != CSRF_FIELD:
            errors.setdefault(name, []).append("There is no such field.")
    return form, errors


def _json_body() -> Any:
    try:
        return request.get_json(silent=True)
    except RecursionError:
        return None


def _read_confirmation() -> tuple[str, str]:
    body: Any = _json_body() if request.is_json else request.form
    if not hasattr(body, "get"):
        raise Refused(400, Problem("The body is not a JSON object.", 'Send {"fingerprint": …}.'))
    fingerprint, reason = body.get("fingerprint"), body.get("reason") or ""
    if not isinstance(fingerprint, str) or not isinstance(reason, str):
        raise Refused(
            400, Problem("The fingerprint is missing.", "Send the fingerprint of the plan that was shown.")
        )
    reason = "".join(char for char in reason.strip() if char >= " " or char == "\n")
    if len(reason) > REASON_LENGTH:
        raise Refused(422, Problem(f"The reason is longer than {REASON_LENGTH:,} characters.", "Shorten it."))
    return fingerprint, reason.encode("utf-8", "replace").decode()


def _plan_created(plan: PlanSummary) -> Any:
    if not guard.wants_json():
        return redirect(pages.url("plan", plan_id=plan.id), code=303)
    with new_session() as session:
        return jsonify(payloads.plan_json(plan, _now(), session)), 201


def _stopped(plan: PlanSummary, body: dict[str, Any]) -> dict[str, Any]:
    problem = plan.problem or {}
    return {
        **body,
        "error": problem.get("reason", "The plan stopped."),
        "remedy": problem.get("remedy", ""),
        "drift": problem.get("moved", []),
    }


def _readable_plan(plan_id: str) -> PlanSummary:
    """Return a plan that the caller may see; to anyone else it does not exist."""
    try:
        key = UUID(hex=plan_id)
    except ValueError:
        raise _no_plan() from None
    with new_session() as session:
        plan = reading.get(key, session)
    if plan is None or not auth.may_read(plan.dag_id, caller().user):
        raise _no_plan()
    return plan


def _clearable_plan(plan_id: str) -> PlanSummary:
    plan = _readable_plan(plan_id)
    _require_may_clear(plan.dag_id)
    return plan


def _no_plan() -> Refused:
    return Refused(404, Problem("There is no such plan.", "It may have expired and been removed."))


def _require_may_clear_dag_of(form: SelectionForm) -> None:
    """Ask for the form's DAG, unless it is missing or no database could hold its name."""
    if form.dag_id.validate(form):
        _require_may_clear(form.dag_id.data or "")
    form.dag_id.errors = []


def _require_may_clear(dag_id: str) -> None:
    """Refuse a caller who may not clear the DAG; to one who may not see it, it does not exist."""
    user = caller().user
    if not auth.may_read(dag_id, user):
        raise Refused(404, Problem("There is no such DAG.", "Choose one from the list."))
    if not auth.may_clear(dag_id, user):
        raise Refused(
            403,
            Problem(
                f"You may see {dag_id}, but you may not clear its task instances.",
                "Ask an Airflow admin for the permission to edit task instances of this DAG.",
            ),
        )
