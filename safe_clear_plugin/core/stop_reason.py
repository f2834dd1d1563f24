"""Why a plan stopped, and which runs its undo left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from safe_clear_plugin.core.codes import Code


class StopKind(Code):
    """A cause that stops a plan."""

    STOPPED = "stopped"
    """A person did."""
    INTERRUPTED = "interrupted"
    """Nothing went on with it: a page of an earlier Safe Clear, which sent the batches, was closed."""
    DRIFT = "drift"
    """Rows changed after the preview."""
    MISMATCH = "mismatch"
    """Airflow's clear did something else than the plan."""
    UPGRADED = "upgraded"
    """Another version of Airflow than the one that the clear began under."""
    UNSUPPORTED = "unsupported_airflow"
    """Airflow's tables are no longer those that Safe Clear knows."""
    NOT_BEGUN = "not_begun"
    """The plan was not begun, because a plan before it in its change set stopped."""
    BUSY = "busy"
    """The database did not take the batch."""
    ERROR = "error"
    """Also a kind that only a later Safe Clear knows: a plan of its must not keep others from being read."""

    @classmethod
    def _missing_(cls, value: object) -> StopKind:
        del value
        return cls.ERROR


@dataclass(frozen=True, slots=True)
class DriftRecord:
    """A row that drifted, as the plan keeps it (:meth:`DriftedRow.to_json`)."""

    what: str
    run_id: str | None
    task_id: str | None
    map_index: int | None
    before: str | None
    now: str | None
    how: str
    attribute: str | None = None
    before_state: str | None = None
    before_try: int | None = None
    now_state: str | None = None
    now_try: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DriftRecord:
        """Rebuild a row from :meth:`to_json`."""
        known: dict[str, Any] = {field.name: values.get(field.name) for field in fields(cls)}
        return cls(**known)


NOT_RESUMABLE = (StopKind.DRIFT, StopKind.MISMATCH, StopKind.UPGRADED)
"""Kinds that would only stop the plan again."""


@dataclass(frozen=True, slots=True)
class StopReason:
    """The reason why a plan stopped, and the remedy."""

    kind: StopKind
    reason: str = ""
    remedy: str = ""
    by: str = ""
    """The name of the person who stopped it."""
    moved: tuple[DriftRecord, ...] = ()
    """The first of the rows that drifted."""
    mismatches: tuple[str, ...] = ()
    """The first of the rows that came out of the clear otherwise than planned, each as a sentence."""
    total: int = 0
    """The number of rows that drifted, or came out otherwise."""
    code: str = ""
    """The kind of an error, whose traceback is in the log under ``error_id``."""
    error_id: str = ""

    @property
    def is_stop_by_person(self) -> bool:
        """Whether a person stopped the plan."""
        return self.kind == StopKind.STOPPED

    @property
    def moved_runs(self) -> int:
        """The number of dag runs that drifted; 0 where only the first of the rows are known."""
        return len({row.run_id for row in self.moved}) if self.total == len(self.moved) else 0

    @property
    def moved_in_runs_only(self) -> bool:
        """Whether each row that drifted belongs to a dag run, so that the other runs can still be cleared."""
        return all(row.run_id for row in self.moved)

    def to_json(self) -> dict[str, Any]:
        """Return the given parts as JSON values."""
        return _given({**asdict(self), "kind": self.kind.value})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StopReason:
        """Rebuild a reason from :meth:`to_json`."""
        texts = {name: values.get(name) or "" for name in ("reason", "remedy", "by", "code", "error_id")}
        if values["kind"] == StopKind.BUSY and not texts["code"]:
            # Plans that stopped before errors had codes hold the driver's words, which are for the log alone.
            texts["reason"] = "The metadata database did not save the batch."
        return cls(
            kind=StopKind(values["kind"]),
            moved=tuple(DriftRecord.from_json(row) for row in values.get("moved", ())),
            mismatches=tuple(values.get("mismatches", ())),
            total=values.get("total", 0),
            **texts,
        )


EARLIER = "earlier"
"""The key under which is stored that an earlier undo left runs out."""


@dataclass(frozen=True, slots=True)
class LeftOutRuns:
    """Runs that an undo left out: the database did not put them back in time, or the undo was given up."""

    run_ids: tuple[str, ...]
    """The first of them, where the undo was given up; else all."""
    total: int = 0
    """Their number, where the undo was given up."""
    reason: str = ""
    remedy: str = ""
    code: str = ""
    error_id: str = ""
    is_earlier: bool = False
    """Whether another undo has begun since; it may leave no runs out."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        found = _given(asdict(self))
        return {EARLIER if name == "is_earlier" else name: value for name, value in found.items()}

    @property
    def count(self) -> int:
        """The number of them."""
        return self.total or len(self.run_ids)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LeftOutRuns:
        """Rebuild it from :meth:`to_json`."""
        texts = {name: values.get(name) or "" for name in ("reason", "remedy", "code", "error_id")}
        return cls(
            tuple(values.get("run_ids", ())),
            values.get("total", 0),
            is_earlier=bool(values.get(EARLIER)),
            **texts,
        )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items() if v}


UNDO_KEY = "undo"
"""Under which the stored problem of a plan has what its undo left out, beside what stopped the clear."""


def read_problem(problem: Mapping[str, Any] | None) -> tuple[StopReason | None, LeftOutRuns | None]:
    """Return what stopped a plan and what its undo left out, from the problem that is stored with it."""
    found = problem or {}
    stop = StopReason.from_json(found) if "kind" in found else None
    return stop, LeftOutRuns.from_json(found[UNDO_KEY]) if UNDO_KEY in found else None


def write_problem(stop: StopReason | None, left_out: LeftOutRuns | None) -> dict[str, Any] | None:
    """Return both as the problem that is stored and answered; ``None`` without either."""
    problem = stop.to_json() if stop else {}
    if left_out:
        problem[UNDO_KEY] = left_out.to_json()
    return problem or None
