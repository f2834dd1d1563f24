"""Why a selection matches no dag run: the runs that exist instead, and a selection that matches some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.selection import present_rows
from safe_clear_plugin.airflow_api.selection.select_runs import Scope
from safe_clear_plugin.core.formats import count, either, join_words, moment
from safe_clear_plugin.core.plan_text import either_state, kind_name
from safe_clear_plugin.core.problems import Problem, Suggestion
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import state_name


def field_of_runs(selection: Selection) -> str:
    """Return the field at which it stands what is wrong with the runs of a selection."""
    if selection.is_by_failure and not selection.has_dates:
        return "failed_from"
    return "run_id" if selection.run_id and not selection.has_dates else "date_from"


def explain(scope: Scope, session: Session) -> Problem:
    """Return why a selection of an existing DAG has no dag run."""
    if scope.selection.is_by_failure:
        return _none_failed(scope.selection)
    found = present_rows.count_by_type_and_state(scope, session)
    if found:
        return _filtered(scope.selection, found)
    return _none_there(scope, session)


def _none_failed(selection: Selection) -> Problem:
    return Problem(
        f"No task instance of {selection.dag_id} that failed in this time is still Failed or Upstream "
        "Failed.",
        "It may have been cleared since. Choose a longer time, or remove filters on runs.",
        "failed_from",
    )


def _filtered(selection: Selection, found: Mapping[tuple[str, str], int]) -> Problem:
    """Of runs that are there, but of another type or state, or excluded."""
    by_type, by_state = Counter[str](), Counter[str]()
    for (run_type, state), number in found.items():
        by_type[run_type] += number
        by_state[state] += number
    total = by_type.total()
    runs = f"The dates and ids match {count(total, 'dag run')} of {selection.dag_id}"
    kinds = [f"{number:,} {kind_name(run_type)}" for run_type, number in by_type.most_common()]
    kinds_asked = [kind_name(kind) for kind in selection.run_type]
    states = [f"{number:,} {state_name(state)}" for state, number in by_state.most_common()]
    if selection.run_type and not by_type.keys() & set(selection.run_type):
        asked, there, field = either(kinds_asked), join_words(kinds), "run_type"
    elif selection.run_state and not by_state.keys() & set(selection.run_state):
        asked = either_state(selection.run_state)
        there, field = join_words(states), "run_state"
    elif selection.run_type and selection.run_state and not _are_both(selection, found):
        asked = f"{either(kinds_asked)} and {either_state(selection.run_state)}"
        there, field = f"{join_words(kinds)}; {join_words(states)}", "run_state"
    else:
        return Problem(f"{runs}, but all are excluded.", "Exclude fewer dag runs.", "exclude_run_id")
    reason = f"{runs}, but none is {asked}: {there}."
    suggestion = Suggestion("Preview these runs", {"run_type": [], "run_state": []})
    remedy = "Choose another run type." if field == "run_type" else "Choose another run state."
    return Problem(reason, remedy, field, () if selection.exclude_run_id else (suggestion,))


def _are_both(selection: Selection, found: Mapping[tuple[str, str], int]) -> bool:
    return any(kind in selection.run_type and state in selection.run_state for kind, state in found)


def _none_there(scope: Scope, session: Session) -> Problem:
    """Of a range, or of named runs outside it, in which the DAG has no run."""
    selection = scope.selection
    by_run_after = replace(scope, selection=replace(selection, date_field="run_after"))
    undated = present_rows.count_runs(by_run_after, session) if selection.date_field == "logical_date" else 0
    if undated and not selection.run_id:
        return Problem(
            f"No dag run of {selection.dag_id} has its logical date in this range, but {undated:,} "
            "would by run_after.",
            "Use run_after as the date field.",
            "date_field",
            (Suggestion("Preview by run_after", {"date_field": "run_after"}),),
        )
    number, first, last = present_rows.dates_of_runs(selection, session)
    date = selection.date_field.replace("_", " ")
    if not number:
        reach = f"it has none with a {date}" if selection.date_field == "logical_date" else "it has none"
    elif first == last:
        reach = f"its only {date} is {moment(first)}"
    else:
        reach = f"its {count(number, 'run')} with a {date} are from {moment(first)} to {moment(last)}"
    return Problem(
        f"The selection matches no dag run of {selection.dag_id}: {reach}.",
        "Choose other dates. To find a run without a logical date, use run_after or its run id.",
        field_of_runs(selection),
    )
