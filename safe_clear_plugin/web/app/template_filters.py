"""What the templates need to put plain values into words: Jinja filters and small view helpers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any

from markupsafe import Markup, escape

from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.effects import MOVED_EFFECTS
from safe_clear_plugin.core.plan import PlannedRun, StateChange

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Not by ``strftime``, which follows the server's locale."""

STATE_LABELS: dict[str, str] = {
    "success": "Success",
    "failed": "Failed",
    "upstream_failed": "Upstream Failed",
    "up_for_retry": "Up For Retry",
    "up_for_reschedule": "Up For Reschedule",
    "running": "Running",
    "restarting": "Restarting",
    "queued": "Queued",
    "scheduled": "Scheduled",
    "deferred": "Deferred",
    "awaiting_input": "Awaiting Input",
    "skipped": "Skipped",
    "removed": "Removed",
    "none": "No status",
}
"""Airflow's words, in the order in which bars and legends list the states."""

ABSENT = "absent"
"""Stands for "no such task instance yet" where a bar counts what is there before the clear."""

EFFECT_LABELS: dict[str, str] = {
    "clear": "Clear",
    "terminate": "Terminate",
    "leave_out": "Leave out",
    "create": "Create",
    "restore": "Restore",
    "remove": "Mark removed",
}

RULER_DAYS = 14
SMALLEST_SHARE = 0.6
"""Per cent of a bar that even one task instance among a hundred thousand gets, so that it can be seen."""


@dataclass(frozen=True, slots=True)
class Share:
    """One segment of a bar; ``x`` and ``width`` are SVG lengths."""

    state: str | None
    count: int
    x: str
    width: str


@dataclass(frozen=True, slots=True)
class Day:
    """One day of the ruler that shows where the planned runs lie."""

    day: date
    planned: bool
    today: bool
    gap: bool
    """Whether days are left out between the day before and this one."""
    opens: bool
    """Whether the month is to be named here: the first day, after a gap, the first of a month."""

    @property
    def weekday(self) -> str:
        """Return the short name of the weekday."""
        return WEEKDAYS[self.day.weekday()]

    @property
    def note(self) -> str:
        """Return what stands under the day: ``today``, or its month where that is news."""
        if self.today:
            return "today"
        return MONTHS[self.day.month - 1] if self.opens else ""


def number(value: int) -> str:
    """Write a number with thousands separators."""
    return f"{value:,}"


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc)


def when(moment: datetime | None) -> str:
    """Write a moment as ``2026-11-01 00:00 UTC``."""
    return f"{_utc(moment):%Y-%m-%d %H:%M} UTC" if moment else "unknown"


def when_short(moment: datetime) -> str:
    """Write a moment as ``1 Nov 00:00 UTC``, where the year is plain from what stands around it."""
    moment = _utc(moment)
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment:%H:%M} UTC"


def when_clock(moment: datetime) -> str:
    """Write the time of day as ``03:19:40 UTC``."""
    return f"{_utc(moment):%H:%M:%S} UTC"


def when_weekday(moment: datetime) -> str:
    """Write a moment as ``Sun 2026-11-01 00:00 UTC``: a weekday shows a wrong date at once."""
    return f"{WEEKDAYS[_utc(moment).weekday()]} {when(moment)}"


def when_full(moment: datetime) -> str:
    """Write a moment to the second, as ``2026-11-01 03:19:12 UTC``."""
    return f"{_utc(moment):%Y-%m-%d %H:%M:%S} UTC"


def when_day(moment: datetime, now: datetime) -> str:
    """Write a day as ``Wed 4 Nov``, with its year unless that is this one."""
    moment = _utc(moment)
    year = "" if moment.year == _utc(now).year else f" {moment.year}"
    return f"{WEEKDAYS[moment.weekday()]} {moment.day} {MONTHS[moment.month - 1]}{year}"


def when_minute(moment: datetime) -> str:
    """Write the time of day as ``03:12 UTC``."""
    return f"{_utc(moment):%H:%M} UTC"


def when_span(first: datetime, last: datetime) -> str:
    """Write the dates of the first and the last of some dag runs."""
    if first == last:
        return when(first)
    start, end = _utc(first), _utc(last)
    tail = f"{end:%H:%M} UTC" if start.date() == end.date() else when(last)
    return f"{start:%Y-%m-%d %H:%M} to {tail}"


def iso(moment: datetime) -> str:
    """Write a moment in ISO 8601, for ``datetime`` attributes and scripts."""
    return _utc(moment).isoformat()


def ago(moment: datetime, now: datetime) -> str:
    """Say how far ``moment`` lies from ``now``: ``3 h ago``, ``in 2 days``."""
    seconds = (now - moment).total_seconds()
    size = abs(seconds)
    if size < 60:
        return "just now"
    if size < 3_600:
        amount = f"{int(size // 60)} min"
    elif size < 2 * 86_400:
        amount = f"{int(size // 3_600)} h"
    else:
        amount = plan_text.count(int(size // 86_400), "day")
    return f"{amount} ago" if seconds > 0 else f"in {amount}"


def state_key(state: str | None) -> str:
    """Return the state as Airflow's REST API names it, ``none`` for no state."""
    return state or "none"


def state_label(state: str | None) -> str:
    """Write a state as Airflow's UI does."""
    key = state_key(state)
    if key == ABSENT:
        return "Does not exist yet"
    return STATE_LABELS.get(key, key.replace("_", " ").title())


def state_class(state: str | None) -> str:
    """Return the part of class and icon names that stands for the state."""
    key = state_key(state)
    return key.replace("_", "-") if key in STATE_LABELS or key == ABSENT else "other"


def is_state(text: str | None) -> bool:
    """Whether a text is one of Airflow's states and nothing else."""
    return text is not None and text in STATE_LABELS


def all_states(by_state: Iterable[Sequence[Any]]) -> list[str]:
    """Return every state that counts by state may come to have: Airflow's, and those counted already."""
    return [*STATE_LABELS, *(key for key, _ in by_state if key and key not in STATE_LABELS)]


def effect_label(effect: str) -> str:
    """Write what happens to a task instance."""
    return EFFECT_LABELS.get(effect, effect.replace("_", " ").capitalize())


def prose(text: str) -> Markup:
    """Escape a text and set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped)


def effect_count(changes: Iterable[StateChange], *effects: str) -> int:
    """Count the task instances that have one of the effects."""
    return sum(change.count for change in changes if change.effect in effects)


def before_count(changes: Iterable[StateChange], state: str) -> int:
    """Count the task instances that are cleared out of a state."""
    return sum(c.count for c in changes if c.before == state and c.effect in ("clear", "terminate"))


def _shares(counts: Mapping[str, int]) -> list[Share]:
    order = [ABSENT, *STATE_LABELS]
    ranked = sorted(
        ((state, count) for state, count in counts.items() if count > 0),
        key=lambda item: (order.index(item[0]) if item[0] in order else len(order), item[0]),
    )
    total = sum(count for _, count in ranked)
    widths = [max(100 * count / total, SMALLEST_SHARE) for _, count in ranked]
    scale = 100 / sum(widths) if widths else 0.0
    shares, x = [], 0.0
    for (state, count), width in zip(ranked, widths, strict=True):
        shares.append(Share(None if state == "none" else state, count, f"{x:.3f}%", f"{width * scale:.3f}%"))
        x += width * scale
    return shares


def shares_before(changes: Iterable[StateChange]) -> list[Share]:
    """Return the bar of what is there now; what is left out is not in it."""
    counts: Counter[str] = Counter()
    for change in changes:
        if change.effect != "leave_out":
            counts[ABSENT if change.effect == "create" else state_key(change.before)] += change.count
    return _shares(counts)


def shares_after(changes: Iterable[StateChange]) -> list[Share]:
    """Return the bar of what will be there right after the clear; what is left out is not in it."""
    counts: Counter[str] = Counter()
    for change in changes:
        if change.effect != "leave_out":
            counts[state_key(change.after)] += change.count
    return _shares(counts)


def shares_now(by_state: Iterable[Sequence[Any]]) -> list[Share]:
    """Return the bar of counted states, given as pairs of state and count."""
    counts: Counter[str] = Counter()
    for state, count in by_state:
        counts[state_key(state)] += count
    return _shares(counts)


def run_note(changes: Iterable[StateChange]) -> str:
    """Say in a line what becomes of the dag runs: ``75 will be queued, 3 stay running``."""
    goes: Counter[str] = Counter()
    stays: Counter[str] = Counter()
    for change in changes:
        (stays if change.before == change.after else goes)[state_label(change.after).lower()] += change.count
    parts = [f"{n:,} will be {label}" for label, n in goes.most_common()]
    parts += [f"{n:,} {'stays' if n == 1 else 'stay'} {label}" for label, n in stays.most_common()]
    return ", ".join(parts)


def moved_note(changes: Sequence[StateChange]) -> str:
    """Say what a move to the latest DAG version does besides: ``5 created, 1 marked removed``."""
    words = {"create": "created", "restore": "restored", "remove": "marked removed"}
    counts = ((effect_count(changes, effect), words[effect]) for effect in MOVED_EFFECTS)
    return ", ".join(f"{count:,} {word}" for count, word in counts if count)


def run_moment(run: PlannedRun) -> datetime:
    """Return the date that a dag run goes by: its logical date or, without one, when it was due."""
    return run.logical_date or run.run_after


def ruler_days(first: PlannedRun, last: PlannedRun, now: datetime) -> list[date]:
    """Return the days that the ruler shows for planned runs."""
    return ruler_around(run_moment(first), run_moment(last), now)


def ruler_around(first: datetime, last: datetime, now: datetime) -> list[date]:
    """Return the days that the ruler shows: the last ones or, for older ones, those around both ends."""
    start, end = sorted((_utc(first).date(), _utc(last).date()))
    today = _utc(now).date()
    shown = {today - timedelta(days=n) for n in range(RULER_DAYS)}
    if start not in shown or end not in shown:
        inside = {start + timedelta(days=n) for n in range(min((end - start).days + 1, 5))}
        tail = {end - timedelta(days=n) for n in range(min((end - start).days + 1, 5))}
        shown = {today - timedelta(days=1), today, *inside, *tail}
    return sorted(shown)


def day_ruler(shown: Sequence[date], planned: Collection[date], now: datetime) -> list[Day]:
    """Return the shown days with those that have a planned run marked, so that a wrong date is seen."""
    today = _utc(now).date()
    days: list[Day] = []
    for day in shown:
        gap = bool(days) and day - days[-1].day > timedelta(days=1)
        days.append(Day(day, day in planned, day == today, gap, gap or not days or day.day == 1))
    return days


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago,
    "all_states": all_states,
    "before_count": before_count,
    "effect_count": effect_count,
    "effect_label": effect_label,
    "is_state": is_state,
    "iso": iso,
    "moved_note": moved_note,
    "number": number,
    "plural": plan_text.count,
    "prose": prose,
    "run_moment": run_moment,
    "run_note": run_note,
    "shares_after": shares_after,
    "shares_before": shares_before,
    "shares_now": shares_now,
    "state_class": state_class,
    "state_key": state_key,
    "state_label": state_label,
    "when": when,
    "when_clock": when_clock,
    "when_day": when_day,
    "when_full": when_full,
    "when_minute": when_minute,
    "when_short": when_short,
    "when_span": when_span,
    "when_weekday": when_weekday,
}
"""Filters by the name that the templates use."""
