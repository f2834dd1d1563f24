"""Waves: how many dag runs a clear takes at a time, and when it waits before it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.problems import Invalid, Problem


class Then(Code):
    """The next step once the first runs have run again."""

    ASK = "ask"
    """A person decides, however they ended."""
    GO_ON = "go_on"
    """The rest is cleared if all of them succeeded; else a person decides."""


class RunOrder(Code):
    """The dag runs that are cleared first, by the date that a run goes by."""

    OLDEST = "oldest"
    NEWEST = "newest"


class WaveState(Code):
    """The activity of a clear in progress at one moment."""

    CLEARING = "clearing"
    WAITING_FOR_RUNS = "waiting_for_runs"
    WAITING_FOR_PERSON = "waiting_for_person"
    SCHEDULED = "scheduled"
    """It does not begin before a moment."""


class WaveReason(Code):
    """Why a person has to decide."""

    FIRST_DONE = "first_done"
    """The first runs are done, and somebody wants to look at them."""
    FIRST_FAILED = "first_failed"
    FIRST_INCONCLUSIVE = "first_inconclusive"
    """Some of the first runs wait for what will not come by itself, so they show nothing."""
    TOO_MANY_FAILED = "too_many_failed"


class RunProgress(Code):
    """The progress of a dag run of a plan."""

    UNTOUCHED = "untouched"
    """Not cleared yet."""
    RUNNING_AGAIN = "running_again"
    WAITING = "waiting"
    """Cleared, and it waits for what will not come by itself: a person, a slot that there is not, …"""
    FAILING = "failing"
    """A cleared task instance of it failed, others are unfinished."""
    FAILED = "failed"
    DONE = "done"


UNFINISHED = (RunProgress.RUNNING_AGAIN, RunProgress.FAILING)
"""Runs that count towards ``at_most_runs``."""

FAILURES = (RunProgress.FAILING, RunProgress.FAILED)


@dataclass(frozen=True, slots=True)
class Waves:
    """The waves of a clear, as chosen at the confirmation; they never contradict each other.

    :raises Invalid: with each value that cannot be, at its field
    """

    first_runs: int | None = None
    """The number of runs to clear first."""
    then: Then | None = None
    """Given with ``first_runs``, and only with it."""
    at_most_runs: int | None = None
    """The highest number of cleared runs that are unfinished at a time."""
    stop_after_failed: int | None = None
    """The number of failed runs at which a person decides."""
    order: RunOrder = RunOrder.OLDEST
    not_before: datetime | None = None

    def __post_init__(self) -> None:
        if problems := tuple(self._problems()):
            raise Invalid(*problems)

    def _problems(self) -> Iterator[Problem]:
        for name in ("first_runs", "at_most_runs", "stop_after_failed"):
            number = getattr(self, name)
            if number is not None and (type(number) is not int or number < 1):
                yield Problem("This is not a number of dag runs.", "Send a whole number from 1.", name)
        if self.then is not None and self.first_runs is None:
            yield Problem(
                "`then` says what follows the first runs, and there is no number of them.",
                "Send `first_runs` too, or leave `then` out.",
                "then",
            )
        if self.first_runs is not None and self.then is None:
            yield Problem(
                "Nothing says what follows the first runs.", "Send `then`: `ask` or `go_on`.", "then"
            )
        if self.not_before is not None and self.not_before.tzinfo is None:
            yield Problem("The time names no time zone.", "Send one, such as 02:00+01:00.", "not_before")

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {**asdict(self), "not_before": self.not_before.isoformat() if self.not_before else None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Waves:
        """Rebuild them from :meth:`to_json`."""
        then, moment = values["then"], values["not_before"]
        return cls(
            first_runs=values["first_runs"],
            then=Then(then) if then else None,
            at_most_runs=values["at_most_runs"],
            stop_after_failed=values["stop_after_failed"],
            order=RunOrder(values["order"]),
            not_before=datetime.fromisoformat(moment) if moment else None,
        )


ONE_THEN_ASK = Waves(first_runs=1, then=Then.ASK)
"""The default waves above ``[safe_clear] canary_above``."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The waves of a clear as a request has them; ``None`` are all at once."""

    waves: Waves | None = None
    is_chosen: bool = False
    """Whether the request names them, so that it is not the default."""


ALL_AT_ONCE = Pace()


@dataclass(frozen=True, slots=True)
class RunCounts:
    """The number of dag runs of a plan in each stage; each run counts once."""

    untouched: int = 0
    running_again: int = 0
    waiting: int = 0
    failing: int = 0
    failed: int = 0
    done: int = 0
    undone: int = 0
    """Cleared once, and put back."""
    skipped: int = 0
    """Those of the failing and failed runs that somebody went on without."""

    @property
    def cleared(self) -> int:
        """Runs that the clear has reached."""
        return self.running_again + self.waiting + self.failing + self.failed + self.done

    @property
    def unfinished(self) -> int:
        """Cleared runs that are unfinished."""
        return self.running_again + self.failing

    @property
    def failures(self) -> int:
        """Runs that failed, and that nobody went on without."""
        return self.failing + self.failed - self.skipped


def add_counts(counts: Iterable[RunCounts]) -> RunCounts:
    """Return the sum of the counts of several plans."""
    found = list(counts)
    return RunCounts(**{one.name: sum(getattr(of, one.name) for of in found) for one in fields(RunCounts)})


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A dag run of the plan that failed again, and the first of the tasks of it that did."""

    run_id: str
    date: datetime
    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The next step of a clear: ``runs`` more runs may be cleared now.

    Without a ``state`` nothing is left to clear.
    """

    state: WaveState | None
    runs: int = 0
    reason: WaveReason | None = None
    """Why it waits for a person."""
    until: datetime | None = None
    """When it is scheduled."""


def decide(waves: Waves, counts: RunCounts, now: datetime, *, passed: bool) -> Decision:
    """Decide the next step of a clear.

    ``passed`` says that a person went on once the first runs were cleared. A decision to wait for a person
    stays until a person decides, even if the runs change: the caller keeps it.
    """
    if not counts.untouched:
        return Decision(None)
    if waves.not_before is not None and now < waves.not_before:
        return Decision(WaveState.SCHEDULED, until=waves.not_before)
    if reason := _reason_to_ask(waves, counts, passed=passed):
        return Decision(WaveState.WAITING_FOR_PERSON, reason=reason)
    allowed = counts.untouched
    if (first := _first_runs(waves, counts, passed=passed)) and (counts.cleared < first or counts.unfinished):
        allowed = min(allowed, first - counts.cleared)
    if waves.at_most_runs is not None:
        allowed = min(allowed, waves.at_most_runs - counts.unfinished)
    return Decision(WaveState.CLEARING, allowed) if allowed > 0 else Decision(WaveState.WAITING_FOR_RUNS)


def _first_runs(waves: Waves, counts: RunCounts, *, passed: bool) -> int:
    """Return how many the first runs are, 0 once the clear is past them."""
    is_past = passed or waves.first_runs is None or counts.cleared > waves.first_runs
    return 0 if is_past else waves.first_runs or 0


def _reason_to_ask(waves: Waves, counts: RunCounts, *, passed: bool) -> WaveReason | None:
    if waves.stop_after_failed is not None and counts.failures >= waves.stop_after_failed:
        return WaveReason.TOO_MANY_FAILED
    first = _first_runs(waves, counts, passed=passed)
    if not first:
        return None
    if counts.failures:
        return WaveReason.FIRST_FAILED
    if counts.cleared < first or counts.unfinished:
        return None
    if counts.waiting:
        return WaveReason.FIRST_INCONCLUSIVE
    return WaveReason.FIRST_DONE if waves.then is Then.ASK else None
