"""The page behind a tab in Airflow's UI: it makes a plan, or says why there is no plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.regex import exactly
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.planning.linked_selection import FAILURES_SOUGHT, Place
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.select import select_page
from safe_clear_plugin.web.select.form import SelectionForm, form_from_selection, suggested_forms

MAX_IN_AN_ADDRESS = 4_000
"""The maximum number of characters of a selection in a link to the form."""

Fields = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class EditTarget:
    """Where the form is filled in with a selection: a link, or an address that ``fields`` are posted to."""

    url: str
    fields: Fields


def opening_page(place: Place, selection: Selection, *, at_once: bool) -> str:
    """Render the page whose script previews the selection ``at_once``, or that has a button for it."""
    return templating.render(
        "opening.html",
        place=place,
        what=place.task_id or place.run_id or "the last failures",
        fields=_fields(selection),
        at_once=at_once,
        edit=edit_target(selection),
        here=templating.NavState("", place.dag_id),
    )


def no_failures_page(place: Place) -> str:
    """Render the form, because a task or a DAG has no recent failure."""
    args = MultiDict({"dag_id": place.dag_id})
    if place.task_id:
        args["task_regex"] = exactly(place.task_id)
    what = "this task" if place.task_id else place.dag_id
    note = f"No failure of {what} in the last {FAILURES_SOUGHT.days} days. Choose what to run again."
    return select_page.select_page(SelectionForm(args), note=note)


def refused_page(selection: Selection, problems: Sequence[Problem]) -> str:
    """Render why a selection has no plan, with other selections that match, and a link to change it."""
    suggestions = [one for problem in problems for one in problem.suggestions]
    return templating.render(
        "refused.html",
        problems=problems,
        suggested=suggested_forms(selection, suggestions),
        edit=edit_target(selection),
        here=templating.NavState("", selection.dag_id),
    )


def edit_target(selection: Selection) -> EditTarget:
    """Return where the form is filled in with a selection, which may be too long for an address."""
    fields = _fields(selection)
    query = urlencode(fields)
    if len(query) > MAX_IN_AN_ADDRESS:
        return EditTarget(templating.url("edit"), fields)
    return EditTarget(f"{templating.url('select')}?{query}", [])


def _fields(selection: Selection) -> Fields:
    return list(form_from_selection(selection).given.items(multi=True))
