"""What a finding is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeVar

Level = Literal["info", "warn", "acknowledge", "refuse"]
"""``acknowledge`` asks for a tick before the plan can be confirmed, ``refuse`` keeps it from that."""

LinkKind = Literal["dag", "dag_run", "asset", "pool", "plan"]


@dataclass(frozen=True, slots=True)
class Link:
    """Something that a finding names and that Airflow, or Safe Clear, has a page of."""

    kind: LinkKind
    id: str
    text: str = ""
    """What to show instead of the id."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One consequence: ``count`` is how many objects it concerns."""

    code: str
    level: Level
    title: str
    """A sentence with numbers and objects."""
    detail: str
    """What it means."""
    count: int
    remedy: str = ""
    """What to do about it."""
    widen: tuple[str, ...] = ()
    """Fields of the selection that a new plan would switch on, such as ``include_downstream``."""
    rows: bool = False
    """Whether the task instances behind it can be listed by its code."""
    filter: Mapping[str, str] = field(default_factory=dict)
    """The filter of the plan's own rows that shows what it speaks of."""
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


FactsT = TypeVar("FactsT")


@dataclass(frozen=True, slots=True)
class Check(Generic[FactsT]):
    """A rule, and what it looks for in a few words, for when it finds nothing."""

    code: str
    looks_for: str
    rule: Callable[[FactsT], Finding | None]
    is_grave: bool = False
    """Whether what it finds may ask for an acknowledgement, or refuse the plan."""
