"""States as Airflow's UI writes and orders them, and the bars that count them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.planned_rows import StateChange
from safe_clear_plugin.core.states import NO_STATE, state_name

STATE_ORDER = (
    "success",
    "failed",
    "upstream_failed",
    "up_for_retry",
    "up_for_reschedule",
    "running",
    "restarting",
    "queued",
    "scheduled",
    "deferred",
    "awaiting_input",
    "skipped",
    "removed",
    NO_STATE,
)
"""The order in which bars and legends list the states."""

ABSENT = "absent"
"""Stands for "no such task instance yet" in a bar of the task instances before the clear."""

SMALLEST_SHARE = 0.6
"""Per cent of a bar that even one task instance among a hundred thousand gets, so that it can be seen."""


@dataclass(frozen=True, slots=True)
class Share:
    """One segment of a bar; ``x`` and ``width`` are SVG lengths."""

    state: str | None
    count: int
    x: str
    width: str


def state_key(state: str | None) -> str:
    """Return the state as Airflow's REST API names it, ``none`` for no state."""
    return state or NO_STATE


def state_label(state: str | None) -> str:
    """Write a state as Airflow's UI does."""
    key = state_key(state)
    if key == ABSENT:
        return "Does not exist yet"
    return state_name(key)


def state_class(state: str | None) -> str:
    """Return the part of class and icon names that stands for the state."""
    key = state_key(state)
    return key.replace("_", "-") if key in STATE_ORDER or key == ABSENT else "other"


def all_states(by_state: Iterable[Sequence[Any]]) -> list[str]:
    """Return every state that counts by state may come to have: Airflow's, and those counted already."""
    return [*STATE_ORDER, *(key for key, _ in by_state if key and key not in STATE_ORDER)]


def _shares(counts: Mapping[str, int]) -> list[Share]:
    order = [ABSENT, *STATE_ORDER]
    ranked = sorted(
        ((state, count) for state, count in counts.items() if count > 0),
        key=lambda item: (order.index(item[0]) if item[0] in order else len(order), item[0]),
    )
    total = sum(count for _, count in ranked)
    widths = [max(100 * count / total, SMALLEST_SHARE) for _, count in ranked]
    scale = 100 / sum(widths) if widths else 0.0
    shares, x = [], 0.0
    for (state, count), width in zip(ranked, widths, strict=True):
        shares.append(
            Share(None if state == NO_STATE else state, count, f"{x:.3f}%", f"{width * scale:.3f}%")
        )
        x += width * scale
    return shares


def shares_before(changes: Iterable[StateChange]) -> list[Share]:
    """Return the bar of the task instances now, without those that are left out."""
    counts: Counter[str] = Counter()
    for change in changes:
        if change.effect != Effect.LEAVE_OUT:
            counts[ABSENT if change.effect.shown == Effect.CREATE else state_key(change.before)] += (
                change.count
            )
    return _shares(counts)


def shares_after(changes: Iterable[StateChange]) -> list[Share]:
    """Return the bar of the task instances right after the clear, without those that are left out."""
    counts: Counter[str] = Counter()
    for change in changes:
        if change.effect != Effect.LEAVE_OUT:
            counts[state_key(change.after)] += change.count
    return _shares(counts)


def shares_now(by_state: Iterable[Sequence[Any]]) -> list[Share]:
    """Return the bar of counted states, given as pairs of state and count."""
    counts: Counter[str] = Counter()
    for state, count in by_state:
        counts[state_key(state)] += count
    return _shares(counts)
