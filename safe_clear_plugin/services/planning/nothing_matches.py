"""Why a selection matches no task instance: those that exist instead, and a selection that matches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.selection import present_rows
from safe_clear_plugin.airflow_api.selection.present_rows import PresentTasks
from safe_clear_plugin.core.formats import count, join_words, verb
from safe_clear_plugin.core.plan_text import either_state
from safe_clear_plugin.core.problems import NOTHING_TO_CLEAR, Problem, Suggestion
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import NO_STATE, RUNNING_STATES, state_name
from safe_clear_plugin.findings.wording import join_tasks
from safe_clear_plugin.services.planning import newer_tasks
from safe_clear_plugin.services.planning.resolution import Resolution

NOT_SUGGESTED = ("success", "removed", *RUNNING_STATES)
"""States that nobody who asked for others is led to clear: work is done twice, not there, or still done."""


def explain(resolved: Resolution, left_out: int, session: Session) -> Problem:
    """Return why nothing is cleared, of a selection that has runs; ``left_out`` are running and match."""
    selection = resolved.selection
    if left_out:
        return _all_are_running(left_out)
    if selection.is_by_failure:
        return Problem(
            "No task instance that failed in this time matches.",
            "Choose a longer time or more tasks and states, or exclude fewer.",
            "failed_from",
        )
    runs = present_rows.count_runs(resolved.scope, session)
    taken = list(dict.fromkeys(row["task_id"] for shape in resolved.shapes for row in shape.tasks))
    found = present_rows.present_tasks(resolved.scope, taken if selection.names_tasks else None, session)
    if not found:
        return _no_task_instance(resolved, taken, runs, session)
    kept = [row for row in found if row.task_id not in selection.exclude_task_id]
    at_index = [row for row in kept if row.at_index]
    if kept and not at_index:
        return _no_such_index(selection, kept, runs)
    if at_index and selection.state and not any(_state(row) in selection.state for row in at_index):
        return _other_states(selection, at_index, runs)
    return _all_are_excluded(kept)


def _all_are_running(left_out: int) -> Problem:
    return Problem(
        f"All matching task instances are running, so they are left out ({left_out:,}).",
        "Wait until they finish, or choose “Terminate” under “Running task instances”.",
        "running",
        (Suggestion("Preview with the running ones terminated", {"running": "terminate"}),),
    )


def _no_task_instance(resolved: Resolution, taken: Sequence[str], runs: int, session: Session) -> Problem:
    """Of runs without any of the tasks."""
    there = {row.task_id for row in present_rows.present_tasks(resolved.scope, None, session)}
    if there:
        return newer_tasks.not_in_runs(resolved.scope, resolved.latest, taken, there, session)
    return Problem(
        f"{these_runs(runs)} no task instances at all.",
        "Choose other runs. `airflow db clean` removes old task instances; a clear can't bring them back.",
        "run_id" if resolved.selection.run_id else "date_from",
    )


def _no_such_index(selection: Selection, found: Sequence[PresentTasks], runs: int) -> Problem:
    number = sum(row.count for row in found)
    return Problem(
        f"{these_runs(runs)} no task instance{_of_tasks(found)} with map index {selection.map_index}, but "
        f"{number:,} with others.",
        "Choose a map index that there is, or leave it empty.",
        "map_index",
        (Suggestion("Preview with every map index", {"map_index": None, "index_run_id": ""}),),
    )


def _other_states(selection: Selection, found: Sequence[PresentTasks], runs: int) -> Problem:
    by_state: Counter[str] = Counter()
    for row in found:
        by_state[_state(row)] += row.count if selection.map_index is None else row.at_index
    states = sorted(by_state, key=lambda state: (-by_state[state], state))
    listed = [
        f"{by_state[state]:,} {verb(by_state[state], 'is', 'are')} {state_name(state)}" for state in states
    ]
    timed_out = sum(row.timed_out for row in found)
    why = f" {_skipped_by_timeout(timed_out, by_state['skipped'])}" if timed_out else ""
    asked = either_state(selection.state)
    tasks = _of_tasks(found) if selection.names_tasks else ""
    suggested = [state for state in states if state not in NOT_SUGGESTED]
    return Problem(
        f"{these_runs(runs)} no {asked} task instance{tasks}: {join_words(listed)}.{why}",
        f"Select {_states(suggested)} too." if suggested else f"Select {_states(states)} to clear these.",
        "state",
        (_with_states(selection, suggested),) if suggested else (),
        NOTHING_TO_CLEAR,
    )


def _with_states(selection: Selection, states: Sequence[str]) -> Suggestion:
    return Suggestion(f"Preview {_states(states)} too", {"state": [*selection.state, *states]})


def _skipped_by_timeout(timed_out: int, skipped: int) -> str:
    number = (
        "They were" if timed_out == skipped else f"{timed_out:,} of them {verb(timed_out, 'was', 'were')}"
    )
    return f"{number} skipped because the dag run timed out."


def _all_are_excluded(found: Collection[PresentTasks]) -> Problem:
    return Problem(
        "Everything that matches is excluded.",
        "Exclude fewer tasks, dag runs or task instances.",
        "exclude_task_instance" if found else "exclude_task_id",
    )


def these_runs(number: int) -> str:
    """Return the beginning of a sentence on what runs have."""
    return "This run has" if number == 1 else f"These {count(number, 'run')} have"


def _of_tasks(found: Iterable[PresentTasks]) -> str:
    return f" of {join_tasks(list(dict.fromkeys(row.task_id for row in found)))}"


def _states(states: Iterable[str]) -> str:
    return join_words(list(map(state_name, states)))


def _state(row: PresentTasks) -> str:
    return row.state or NO_STATE
