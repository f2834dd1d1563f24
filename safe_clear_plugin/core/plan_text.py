"""Sentences that describe a selection or a plan."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from safe_clear_plugin.core.formats import MANY, count, either, join_words, range_text
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import state_name

REMEDY_FOR_PARSES = (
    "Look in its file for values that are computed when it is parsed, such as datetime.now() in a "
    "start_date, in params or in arguments."
)
"""The remedy for a DAG that gets a new version at each parse."""


def headline(selection: Selection, task_instances: int, dag_runs: int, *, done: bool = False) -> str:
    """Return the clear in one line: ``Clear 3 …``, or with ``done`` ``Cleared 3 …``."""
    verb = "Cleared" if done else "Clear"
    return (
        f"{verb} {count(task_instances, 'task instance')} in {count(dag_runs, 'run')} of {selection.dag_id}"
    )


def sentence(selection: Selection, *, on_latest: bool, brief: bool = False) -> str:
    """Return the selection as a few plain sentences; with ``brief``, without the usual settings."""
    parts = [f"{_tasks(selection)}, in {runs_text(selection)}."]
    if spread := _spread(selection):
        parts.append(spread)
    if without := excluded(selection):
        parts.append(f"Without {join_words(without)}.")
    if selection.running == "terminate":
        parts.append("Running task instances are terminated and started again.")
    elif not brief:
        parts.append("Running task instances are left out.")
    if on_latest:
        what = "Runs" if selection.reset_dag_runs else "Task instances"
        parts.append(f"{what} move to the latest Dag version.")
    if not selection.reset_dag_runs:
        parts.append("Dag runs keep their state, so nothing in finished runs will start.")
    return " ".join(parts)


def _tasks(selection: Selection) -> str:
    states = f" in state {either_state(selection.state)}" if selection.state else ""
    failed = _failed(selection)
    if not selection.names_tasks:
        return f"All tasks{states}{failed}"
    index = "" if selection.map_index is None else f" [{selection.map_index}]"
    tasks = f"tasks matching {selection.task_regex}" if selection.task_regex else named_tasks(selection)
    return f"{tasks[0].upper()}{tasks[1:]}{index}{states}{failed}"


def named_tasks(selection: Selection, *, has_heading: bool = False) -> str:
    """Return the tasks that a selection names: ``task load``, ``tasks extract, load`` or ``200 tasks``."""
    return _names(selection.task_ids, "task", has_heading)


def _failed(selection: Selection) -> str:
    if not selection.is_by_failure:
        return ""
    return f" that failed {range_text(selection.failed_from, selection.failed_to, ' UTC')}"


def _spread(selection: Selection) -> str:
    if not selection.names_tasks and not selection.adds_relatives:
        return SETUPS_IN_ANY_STATE if selection.adds_setups else ""
    added = directions(selection)
    along = f"all {' and '.join(added)} tasks, and " if added else ""
    limit = " in the same states" if selection.state else ""
    if selection.is_by_failure:
        also = f"Includes all tasks {' and '.join(added)} of these{limit}. " if added else ""
        return (also + (SETUPS_IN_ANY_STATE if selection.adds_setups else "")).strip()
    if not selection.adds_setups:
        return f"Includes {along}setup and teardown tasks{limit}."
    also = f"Includes all {' and '.join(added)} tasks{limit}. " if added else ""
    return also + SETUPS_IN_ANY_STATE


def directions(selection: Selection) -> list[str]:
    """Return the directions of the tasks that a selection adds."""
    asked = (("upstream", selection.include_upstream), ("downstream", selection.include_downstream))
    return [word for word, wanted in asked if wanted]


SETUPS_IN_ANY_STATE = "Includes the setup and teardown tasks of these, in any state."


def excluded(selection: Selection) -> list[str]:
    """Return the tasks, dag runs and task instances that a selection excludes."""
    found = [
        _names(values, noun)
        for values, noun in ((selection.exclude_task_id, "task"), (selection.exclude_run_id, "run"))
        if values
    ]
    if selection.exclude_task_instance:
        found.append(count(len(selection.exclude_task_instance), "single task instance"))
    return found


def runs_text(selection: Selection, *, has_heading: bool = False) -> str:
    """Return the dag runs of a selection; under a heading, without ``run`` where the heading says it."""
    kinds = either([kind_name(kind) for kind in selection.run_type]) + " " if selection.run_type else ""
    states = f" in state {either_state(selection.run_state)}" if selection.run_state else ""
    states += _partitions(selection.partition_key)
    if not selection.run_id:
        return _runs_by_date(selection, kinds, states, has_heading)
    text = _names(selection.run_id, "run", has_heading)
    if selection.has_dates:
        text += _between(selection, selection.date_from, selection.date_to)
    if selection.include_past or selection.include_future:
        sides = {(True, True): "before and after", (True, False): "before", (False, True): "after"}
        side = sides[selection.include_past, selection.include_future]
        text += f" and every run {side} {'it' if len(selection.run_id) == 1 else 'them'}"
        text += f" by {_date_name(selection)}"
    return text + (f" ({kinds}runs{states} only)" if kinds or states else "")


def _runs_by_date(selection: Selection, kinds: str, states: str, has_heading: bool) -> str:
    """Return the runs by their dates: past and future drop one date each."""
    start = None if selection.include_past else selection.date_from
    end = None if selection.include_future else selection.date_to
    if start or end:
        noun = "" if has_heading and not kinds else "runs"
        return f"{kinds}{noun}{states}{_between(selection, start, end)}".lstrip()
    if (selection.partition_key or selection.is_by_failure) and not selection.has_dates:
        return f"every {kinds}run{states}"
    dated = " with a logical date" if selection.date_field == "logical_date" else ""
    return f"every {kinds}run{states}{dated}, past and future"


def _partitions(keys: tuple[str, ...]) -> str:
    if len(keys) > MANY:
        return f" with one of {count(len(keys), 'partition key')}"
    return f" with partition key {either(keys)}" if keys else ""


def _date_name(selection: Selection) -> str:
    return selection.date_field.replace("_", " ")


def _between(selection: Selection, start: datetime | None, end: datetime | None) -> str:
    field, zone = _date_name(selection), "" if selection.is_by_partition_date else " UTC"
    where = "" if zone else " in the time zone of the timetable"
    return f" with {field} {range_text(start, end, zone)}{where}"


def either_state(values: Sequence[str]) -> str:
    """Return states as alternatives, as in ``Failed or No Status``."""
    return either([state_name(value) for value in values])


def kind_name(run_type: str) -> str:
    """Return the type of a dag run within a sentence: ``asset triggered``."""
    return run_type.replace("_", " ")


def _names(values: tuple[str, ...], noun: str, has_heading: bool = False) -> str:
    if len(values) > MANY:
        return count(len(values), noun)
    names = ", ".join(values)
    return names if has_heading else f"{noun}{'' if len(values) == 1 else 's'} {names}"
