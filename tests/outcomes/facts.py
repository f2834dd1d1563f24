"""What was there before a clear, what its plan said, and what came of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

RowKey = tuple[str, str, int]
"""A run id, a task id and a map index."""

NOT_YET_RUN = (None, "scheduled")


@dataclass(frozen=True)
class Row:
    """A task instance at some moment."""

    state: str | None
    tries: int = 0


@dataclass(frozen=True)
class Planned:
    """What a plan says of a task instance or, without an effect, of a run."""

    outcome: str | None
    reason: str | None = None
    effect: str = ""


@dataclass(frozen=True)
class Facts:
    """What was there before a clear, what its plan said, and what was there in the end."""

    before: Mapping[RowKey, Row]
    after: Mapping[RowKey, Row]
    plan: Mapping[RowKey, Planned]
    runs_before: Mapping[str, str]
    runs_after: Mapping[str, str]
    run_plan: Mapping[str, Planned]
    asked: Collection[RowKey] = ()
    """The task instances that were seen waiting for a person, and were answered then."""
    resumed: Collection[RowKey] = ()
    """The task instances that found the job of an earlier try."""

    def ran(self, key: RowKey) -> bool:
        """Whether a task instance has run since the clear; the scheduler's queue counts the try before."""
        row, tries = self.after.get(key), self.before.get(key, Row(None)).tries
        return row is not None and row.tries > tries and row.state not in NOT_YET_RUN
