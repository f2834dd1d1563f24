"""Compares the outcomes that a plan foresaw with the states now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.outcomes import OUTCOME_LABELS, Outcome
from safe_clear_plugin.core.states import DONE_STATES, FINISHED_STATES, state_name

UNSTARTED_STATES = (None, "scheduled")
MISSING = "missing"
"""Stands for the state of a task instance that is not there."""


class Came(Code):
    """The state of a task instance compared with its foreseen outcome."""

    AS_FORESEEN = "as_foreseen"
    OTHERWISE = "otherwise"
    OPEN = "open"
    """It can still come to its outcome."""
    NOT_KNOWN = "not_known"
    """Nothing was foreseen."""


@dataclass(frozen=True, slots=True)
class OutcomeNow:
    """The number of task instances with a foreseen outcome and a state now."""

    outcome: str | None
    state: str | None
    run_is_over: bool
    count: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The number of task instances that came as foreseen, and the others by outcome and state."""

    counts: Mapping[Came, int] = field(default_factory=dict)
    differences: Sequence[tuple[str, str | None, int]] = ()

    def total(self, came: Came) -> int:
        """Return how many there are."""
        return self.counts.get(came, 0)


ENDS = {
    # Skipped and Upstream Failed, too: what lies upstream has decided or failed in the re-run.
    Outcome.RUNS: FINISHED_STATES,
    Outcome.RESUMES: FINISHED_STATES,
    Outcome.WAITS: FINISHED_STATES,
    Outcome.SKIPPED: ("skipped",),
    Outcome.UPSTREAM_FAILED: ("upstream_failed",),
    Outcome.REMOVED: ("removed",),
}
"""The states in which a foreseen outcome ends."""


def compare(one: OutcomeNow) -> Came:
    """Compare one foreseen outcome with the state now."""
    if one.outcome in (None, Outcome.UNKNOWN):
        return Came.NOT_KNOWN
    if one.outcome == Outcome.NEVER_STARTS:
        # A run that ends can skip what never started.
        if one.state in (*UNSTARTED_STATES, "skipped"):
            return Came.AS_FORESEEN if one.run_is_over else Came.OPEN
        return Came.OTHERWISE
    ends = ENDS[Outcome(one.outcome)]
    if one.state in ends:
        return Came.AS_FORESEEN
    starts = ends == FINISHED_STATES
    # A decision still skips what is upstream_failed.
    can_be_skipped = one.outcome == Outcome.SKIPPED and one.state == "upstream_failed"
    if one.run_is_over or (one.state in DONE_STATES and not can_be_skipped):
        return Came.OTHERWISE
    is_open = starts or can_be_skipped or one.state in (*UNSTARTED_STATES, MISSING)
    return Came.OPEN if is_open else Came.OTHERWISE


def compare_all(found: Iterable[OutcomeNow]) -> Comparison:
    """Add up how all of them compare, the most frequent differences first."""
    counts: Counter[Came] = Counter()
    differences: Counter[tuple[str, str | None]] = Counter()
    for one in found:
        came = compare(one)
        counts[came] += one.count
        if came == Came.OTHERWISE and one.outcome is not None:
            differences[one.outcome, one.state] += one.count
    return Comparison(counts, [(*key, number) for key, number in differences.most_common()])


def describe(comparison: Comparison) -> str:
    """Say what came otherwise, or that all came as foreseen; nothing while that is open."""
    if not (otherwise := comparison.total(Came.OTHERWISE)):
        is_over = comparison.total(Came.AS_FORESEEN) and not comparison.total(Came.OPEN)
        return "All came as foreseen" if is_over else ""
    parts = ", ".join(
        f"{number:,} foreseen as {OUTCOME_LABELS[Outcome(outcome)]}, now {_state_words(state)}"
        for outcome, state, number in comparison.differences
    )
    return f"{count(otherwise, 'task instance')} came out differently from the plan: {parts}"


def _state_words(state: str | None) -> str:
    return "not there" if state == MISSING else state_name(state)
