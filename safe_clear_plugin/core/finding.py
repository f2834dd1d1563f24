"""A finding: something to know before a clear, and the task instances that it concerns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["info", "warn", "acknowledge", "refuse"]
"""``acknowledge`` asks for a tick before the plan can be confirmed; ``refuse`` blocks the plan."""

LinkKind = Literal["dag", "dag_run", "asset", "pool", "plan"]


@dataclass(frozen=True, slots=True)
class Link:
    """An object that a finding names and that has a page in Airflow or in Safe Clear."""

    kind: LinkKind
    id: str
    text: str = ""
    """The text to show instead of the id."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One consequence of a clear; ``count`` is the number of objects that it concerns."""

    code: str
    level: Level
    title: str
    """A sentence with numbers and objects."""
    detail: str
    """The meaning."""
    count: int
    remedy: str = ""
    """The remedy, as a sentence."""
    widen: tuple[str, ...] = ()
    """Fields of the selection that a new plan would switch on, such as ``include_downstream``."""
    rows: bool = False
    """Whether the affected task instances can be listed by the code."""
    filter: Mapping[str, str] = field(default_factory=dict)
    """The filter of the plan's own rows that shows the affected ones."""
    links: tuple[Link, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Finding:
        """Rebuild a finding from :meth:`to_json`."""
        lists = {
            "widen": tuple(values.get("widen", ())),
            "links": tuple(Link(**link) for link in values.get("links", ())),
        }
        return cls(**{**values, **lists})


@dataclass(frozen=True, slots=True)
class Affected:
    """The task instances of a finding, counted by task, by state and by dag run.

    Tasks and states are sorted, the most frequent first.
    """

    count: int = 0
    runs: int = 0
    tasks: tuple[str, ...] = ()
    states: tuple[tuple[str | None, int], ...] = ()

    @classmethod
    def of(cls, tally: Iterable[tuple[str, str | None, int]], runs: int) -> Affected:
        """Add up counts by task id and state."""
        by_task: Counter[str] = Counter()
        by_state: Counter[str | None] = Counter()
        for task_id, state, number in tally:
            by_task[task_id] += number
            by_state[state] += number
        return cls(
            by_task.total(),
            runs,
            tuple(sorted(by_task, key=lambda task: (-by_task[task], task))),
            tuple(sorted(by_state.items(), key=lambda item: (-item[1], item[0] or ""))),
        )

    def has(self, *states: str) -> bool:
        """Whether any of them is in one of the states."""
        return any(state in states for state, _ in self.states)


NOT_AFFECTED = Affected()
"""No task instances."""
