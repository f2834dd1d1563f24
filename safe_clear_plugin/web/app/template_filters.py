"""The filters of the templates, which put plain values into words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

from safe_clear_plugin.core import foreseen, formats
from safe_clear_plugin.core.confirmation_summary import counted_effects
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, MOVED_EFFECTS, SCHEDULER_EFFECTS, Effect
from safe_clear_plugin.core.outcomes import (
    OUTCOME_LABELS,
    Outcome,
    describe_counts,
    describe_run_counts,
    reason_words,
)
from safe_clear_plugin.core.planned_rows import StateChange, run_date
from safe_clear_plugin.web.app import moments, state_labels

EFFECT_LABELS = {
    Effect.CLEAR: "Clear",
    Effect.TERMINATE: "Terminate",
    Effect.LEAVE_OUT: "Leave out",
    Effect.CREATE: "Create",
    Effect.RESTORE: "Restore",
    Effect.REMOVE: "Mark removed",
}


def number(value: int) -> str:
    """Write a number with thousands separators."""
    return f"{value:,}"


def effect_label(effect: str) -> str:
    """Write what happens to a task instance."""
    return EFFECT_LABELS[Effect(effect).shown]


def prose(text: str) -> Markup:
    """Escape a text and set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped)


def effect_count(changes: Iterable[StateChange], *effects: str) -> int:
    """Count the task instances that have one of the effects."""
    return sum(change.count for change in changes if change.effect in effects)


def before_count(changes: Iterable[StateChange], state: str) -> int:
    """Count the task instances that are cleared out of a state."""
    return sum(c.count for c in changes if c.before == state and c.effect in CLEARED_EFFECTS)


def run_note(changes: Iterable[StateChange]) -> str:
    """Write the outcomes of the dag runs in a line: ``75 will be Queued, 3 stay Running``."""
    goes: Counter[str] = Counter()
    stays: Counter[str] = Counter()
    for change in changes:
        label = state_labels.state_label(change.after)
        (stays if change.before == change.after else goes)[label] += change.count
    parts = [f"{n:,} will be {label}" for label, n in goes.most_common()]
    parts += [f"{n:,} {'stays' if n == 1 else 'stay'} {label}" for label, n in stays.most_common()]
    return ", ".join(parts)


def moved_note(changes: Sequence[StateChange]) -> str:
    """Say what happens beside the clear: ``5 created, 1 marked removed by the scheduler``."""
    parts = [", ".join(counted_effects(changes, MOVED_EFFECTS))]
    if by_scheduler := ", ".join(counted_effects(changes, SCHEDULER_EFFECTS)):
        parts.append(f"{by_scheduler} by the scheduler")
    return ", ".join(filter(None, parts))


def outcome_label(row: Any) -> str:
    """Write the outcome of a planned task instance; nothing for one that is left out."""
    return OUTCOME_LABELS[Outcome(row.outcome)] if row.outcome else ""


def outcome_why(row: Any) -> str:
    """Say why, where it does not simply run."""
    return reason_words(row.outcome_reason)


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": moments.ago,
    "distance": moments.distance,
    "all_states": state_labels.all_states,
    "before_count": before_count,
    "effect_count": effect_count,
    "effect_label": effect_label,
    "iso": moments.iso,
    "moved_note": moved_note,
    "number": number,
    "outcome_counts": describe_counts,
    "describe_comparison": foreseen.describe,
    "outcome_label": outcome_label,
    "outcome_why": outcome_why,
    "plural": formats.count,
    "prose": prose,
    "run_date": run_date,
    "reason_words": reason_words,
    "run_note": run_note,
    "run_outcome_counts": describe_run_counts,
    "shown_effect": lambda effect: Effect(effect).shown,
    "shares_after": state_labels.shares_after,
    "shares_before": state_labels.shares_before,
    "shares_now": state_labels.shares_now,
    "state_class": state_labels.state_class,
    "state_key": state_labels.state_key,
    "state_label": state_labels.state_label,
    "when": moments.when,
    "when_clock": moments.when_clock,
    "when_brief": moments.when_brief,
    "when_day": moments.when_day,
    "when_full": moments.when_full,
    "when_minute": moments.when_minute,
    "when_short": moments.when_short,
    "when_span": moments.when_span,
    "when_weekday": moments.when_weekday,
}
"""Filters by the name that the templates use."""
