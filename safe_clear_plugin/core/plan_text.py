"""What a selection and a plan say, in words."""

from __future__ import annotations

from datetime import datetime, timezone

from safe_clear_plugin.core.selection import Selection

# Not strftime's, which follow the server's locale.
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
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


def sentence(selection: Selection, *, on_latest: bool, brief: bool = False) -> str:
    """Return the selection as a few plain sentences; a ``brief`` one leaves out the usual."""
    parts = [f"{_tasks(selection)}, {_runs(selection)}."]
    if spread := _spread(selection):
        parts.append(spread)
    if without := _without(selection):
        parts.append(f"Without {without}.")
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
    states = f" in state {_either(selection.state)}" if selection.state else ""
    if not selection.task_regex:
        return f"All tasks{states}"
    index = "" if selection.map_index is None else f" [{selection.map_index}]"
    return f"Tasks matching {selection.task_regex}{index}{states}"


def _spread(selection: Selection) -> str:
    if not selection.task_regex:
        return SETUPS_IN_ANY_STATE if selection.adds_setups else ""
    directions = [
        word
        for word, asked in (
            ("upstream", selection.include_upstream),
            ("downstream", selection.include_downstream),
        )
        if asked
    ]
    along = f"all {' and '.join(directions)} tasks, and " if directions else ""
    limit = " in the same states" if selection.state else ""
    if not selection.adds_setups:
        return f"Includes {along}setup and teardown tasks{limit}."
    also = f"Includes all {' and '.join(directions)} tasks{limit}. " if directions else ""
    return also + SETUPS_IN_ANY_STATE


SETUPS_IN_ANY_STATE = "Includes the setup and teardown tasks of these, in any state."


def _without(selection: Selection) -> str:
    excluded = [
        _names(values, noun)
        for values, noun in ((selection.exclude_task_id, "task"), (selection.exclude_run_id, "run"))
        if values
    ]
    if selection.exclude_task_instance:
        excluded.append(count(len(selection.exclude_task_instance), "single task instance"))
    return " and ".join(part for part in (", ".join(excluded[:-1]), *excluded[-1:]) if part)


def _runs(selection: Selection) -> str:
    kinds = _either(selection.run_type).replace("_", " ") + " " if selection.run_type else ""
    states = f" in state {_either(selection.run_state)}" if selection.run_state else ""
    states += _partitions(selection.partition_key)
    if not selection.run_id:
        return _runs_by_date(selection, kinds, states)
    text = f"in {_names(selection.run_id, 'run')}"
    if selection.has_dates:
        text += _between(selection, selection.date_from, selection.date_to)
    if selection.include_past or selection.include_future:
        sides = {(True, True): "before and after", (True, False): "before", (False, True): "after"}
        side = sides[selection.include_past, selection.include_future]
        text += f" and every run {side} {'it' if len(selection.run_id) == 1 else 'them'}"
        text += f" by {selection.date_field}"
    return text + (f" ({kinds}runs{states} only)" if kinds or states else "")


def _runs_by_date(selection: Selection, kinds: str, states: str) -> str:
    """Say what past and future make of the dates: each drops one of them."""
    start = None if selection.include_past else selection.date_from
    end = None if selection.include_future else selection.date_to
    if start or end:
        return f"in {kinds}runs{states}{_between(selection, start, end)}"
    if selection.partition_key and not selection.has_dates:
        return f"in every {kinds}run{states}"
    dated = " with a logical date" if selection.date_field == "logical_date" else ""
    return f"in every {kinds}run{states}{dated}, past and future"


def _partitions(keys: tuple[str, ...]) -> str:
    if len(keys) > MANY:
        return f" with one of {count(len(keys), 'partition key')}"
    return f" with partition key {_either(keys)}" if keys else ""


def _between(selection: Selection, start: datetime | None, end: datetime | None) -> str:
    field, zone = selection.date_field, "" if selection.is_by_partition_date else " UTC"
    first, last = (f"{clock(bound)}{zone}" if bound else "" for bound in (start, end))
    where = "" if zone else " in the time zone of the timetable"
    if start and end:
        return f" with {field} from {first} to {last}{where}"
    return f" with {field} {f'from {first}' if start else f'up to {last}'}{where}"


def moment(value: datetime | None) -> str:
    """Return a moment in UTC, to the minute unless it has seconds worth saying."""
    return "–" if value is None else f"{clock(value)} UTC"


def clock(value: datetime) -> str:
    """Return what :func:`moment` does without the name of the zone."""
    utc = value.astimezone(timezone.utc)
    last_of_day = utc.second == 59 and utc.microsecond == 999999
    time = utc.time().isoformat("minutes" if last_of_day or not utc.second else "seconds")
    return f"{WEEKDAYS[utc.weekday()]} {utc.date().isoformat()} {time}"


def _either(values: tuple[str, ...]) -> str:
    shown = ["no status" if value == "none" else value for value in values]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def _names(values: tuple[str, ...], noun: str) -> str:
    if len(values) > MANY:
        return count(len(values), noun)
    return f"{noun}{'' if len(values) == 1 else 's'} {', '.join(values)}"
