"""What a selection and a plan say, in words."""

from __future__ import annotations

from datetime import datetime, timezone

from safe_clear_plugin.core.selection import Selection

MANY = 3
"""Names that a sentence lists before it only counts them."""


def count(number: int, noun: str) -> str:
    """Return ``1 dag run``, ``3 dag runs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def headline(selection: Selection, task_instances: int, dag_runs: int, *, done: bool = False) -> str:
    """Return the clear as an order, or with ``done`` as what was done."""
    verb = "Cleared" if done else "Clear"
    return (
        f"{verb} {count(task_instances, 'task instance')} in {count(dag_runs, 'run')} of {selection.dag_id}"
    )


def sentence(selection: Selection, *, on_latest: bool) -> str:
    """Return the selection as a few plain sentences."""
    parts = [f"{_tasks(selection)}, {_runs(selection)}."]
    if spread := _spread(selection):
        parts.append(spread)
    if selection.exclude_task_id:
        parts.append(f"Without {_names(selection.exclude_task_id, 'task')}.")
    parts.append(
        "Running ones are terminated and start again."
        if selection.running == "terminate"
        else "Running ones are left out."
    )
    if on_latest:
        parts.append("Runs move to the latest DAG version.")
    if not selection.reset_dag_runs:
        parts.append("Dag runs keep their state, so finished runs start nothing.")
    return " ".join(parts)


def _tasks(selection: Selection) -> str:
    states = f" in state {_either(selection.state)}" if selection.state else ""
    if not selection.task_regex:
        return f"Every task{states}"
    index = "" if selection.map_index is None else f" [{selection.map_index}]"
    return f"Tasks whose id matches {selection.task_regex}{index}{states}"


def _spread(selection: Selection) -> str:
    if not selection.task_regex:
        return ""
    directions = [
        word
        for word, asked in (
            ("upstream", selection.include_upstream),
            ("downstream", selection.include_downstream),
        )
        if asked
    ]
    along = f"everything {' and '.join(directions)} of them, and " if directions else ""
    return f"With {along}their setups and teardowns."


def _runs(selection: Selection) -> str:
    kinds = _either(selection.run_type).replace("_", " ") + " " if selection.run_type else ""
    states = f" in state {_either(selection.run_state)}" if selection.run_state else ""
    text = f"in {kinds}runs{states}"
    if selection.run_id:
        text = f"in {_names(selection.run_id, 'run')}" + (
            f" ({kinds}runs{states} only)" if kinds or states else ""
        )
    return text + _when(selection)


def _when(selection: Selection) -> str:
    start = None if selection.include_past else selection.date_from
    end = None if selection.include_future else selection.date_to
    text = ""
    if selection.has_dates and (start or end):
        field = selection.date_field
        if start and end:
            text = f" with {field} from {moment(start)} to {moment(end)}"
        else:
            text = f" with {field} from {moment(start)} on" if start else f" with {field} up to {moment(end)}"
    if selection.include_past and selection.include_future:
        return text + ", and all past and future runs"
    if selection.include_past:
        return text + ", and all past runs"
    if selection.include_future:
        return text + ", and all future runs"
    return text


def moment(value: datetime | None) -> str:
    """Return a moment in UTC, to the minute unless it has seconds worth saying."""
    if value is None:
        return "–"
    utc = value.astimezone(timezone.utc)
    last_of_day = utc.second == 59 and utc.microsecond == 999999
    return (
        utc.strftime("%a %Y-%m-%d %H:%M" if last_of_day or not utc.second else "%a %Y-%m-%d %H:%M:%S")
        + " UTC"
    )


def _either(values: tuple[str, ...]) -> str:
    shown = ["no status" if value == "none" else value for value in values]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def _names(values: tuple[str, ...], noun: str) -> str:
    if len(values) > MANY:
        return count(len(values), noun)
    return f"{noun}{'' if len(values) == 1 else 's'} {', '.join(values)}"
