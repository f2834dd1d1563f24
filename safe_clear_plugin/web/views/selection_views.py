"""The views that select what to clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify, redirect, request
from flask_appbuilder import expose

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.core.regex import exactly
from safe_clear_plugin.services.planning.linked_selection import Place, has_failed
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.web.api import form_data
from safe_clear_plugin.web.api.bodies import AnswersRequest, SelectionRequest
from safe_clear_plugin.web.api.mistakes import Mistakes
from safe_clear_plugin.web.api.queries import DagsQuery, SelectQuery
from safe_clear_plugin.web.api.request_reader import body_values, read_body, read_query, validate
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.app import request_hooks
from safe_clear_plugin.web.app.authorization import clearable_plan, require_may_clear
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.history import history_links
from safe_clear_plugin.web.select import select_page
from safe_clear_plugin.web.select.draft import draft_of
from safe_clear_plugin.web.select.form import (
    SelectionForm,
    form_from_selection,
    suggested_forms,
    without_placeholders,
)
from safe_clear_plugin.web.views import actions
from safe_clear_plugin.web.views.failed_views import failed_part


class SelectionViews:
    """The form, its answers, and the plan that it makes."""

    @expose("/")
    def start(self) -> Any:
        """The failures of the last day; with a query, the form with its values; for viewers, the history."""
        if history := history_links.for_viewer(request.args):
            return redirect(history, 303)
        return select_page.select_page(_linked_form()) if request.args else failed_part(request.args)

    @expose("/select")
    def select(self) -> str:
        """The empty form, or one that the query or an earlier plan fills in."""
        return select_page.select_page(_linked_form())

    @expose("/select", methods=["POST"])
    def edit(self) -> str:
        """The form filled in with a selection that is too long for an address; writes nothing."""
        read_query(Empty)
        wanted = read_body(SelectionRequest)
        require_may_clear(wanted.dag_id)
        return select_page.select_page(form_from_selection(wanted.selection()))

    @expose("/dags.json")
    def dags_json(self) -> Response:
        """The DAGs that the caller may clear and whose id contains ``q``, the first fifty."""
        return jsonify(select_page.dags_json(read_query(DagsQuery)))

    @expose("/answers", methods=["POST"])
    def answers(self) -> Any:
        """Count the task instances that the form takes so far, as parts of its page; writes nothing."""
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
        if not request.is_json:
            values = form_data.with_dates(values)
        wanted = validate(SelectionRequest, values, mistakes)
        if "dag_id" in values and "dag_id" not in mistakes.by_field:
            require_may_clear(values["dag_id"])
        if wanted is not None:
            try:
                return actions.planned(make_plan(wanted.selection(), caller().actor, utcnow()))
            except Invalid as invalid:
                for problem in invalid.problems:
                    mistakes.add_problem(problem)
        if request_hooks.wants_json() or _is_too_long_to_show(mistakes, request.content_length):
            raise mistakes.refusal(form_data.shapes(SelectionRequest))
        form = SelectionForm(request.form)
        form.add_errors(mistakes.by_field)
        suggested = [] if wanted is None else suggested_forms(wanted.selection(), mistakes.suggestions)
        return select_page.select_page(form, _of_no_field(mistakes), suggested), 422


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
        return form_from_selection(clearable_plan(values["plan"]).selection)
    if dag_id := "" if "dag_id" in mistakes.by_field else values.get("dag_id", ""):
        require_may_clear(dag_id)
    if task_id := args.pop("task_id", ""):
        args.setdefault("task_regex", exactly(task_id))
        runs: Sequence[str] = values.get("run_id", ()) if dag_id else ()
        if len(runs) == 1 and has_failed(Place(dag_id, runs[0], task_id, values.get("map_index"))):
            args.setdefault("include_setups", "true")
    return SelectionForm(args)


def _is_too_long_to_show(mistakes: Mistakes, size: int | None) -> bool:
    return mistakes.too_long and (size is None or size > input_limits.ECHOED_BYTES)


def _of_no_field(mistakes: Mistakes) -> list[Problem]:
    """Return the problems of a selection that belong to none of its fields."""
    unknown = [Problem(f"Unknown field `{name}`.", "Leave it out.") for name in mistakes.unknown]
    return unknown + [Problem(text, "") for text in mistakes.by_field.get("", [])]
