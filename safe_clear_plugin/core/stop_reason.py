"""Why a plan stopped, and which runs its undo left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from safe_clear_plugin.core.codes import Code


class StopKind(Code):
    """What stopped a plan."""

    STOPPED = "stopped"
    """A person did."""
    INTERRUPTED = "interrupted"
    """Nobody sent the next batch."""
    DRIFT = "drift"
    """Rows changed after the preview."""
    MISMATCH = "mismatch"
    """Airflow's clear did something else than the plan."""
    UPGRADED = "upgraded"
    """Another version of Airflow than the one that the clear began under."""
    UNSUPPORTED = "unsupported_airflow"
    """Airflow's tables are no longer those that Safe Clear knows."""
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
    """What stopped a plan, and what to do about it."""

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
    """How many rows drifted, or came out otherwise."""
    code: str = ""
    """The kind of an error, whose traceback is in the log under ``error_id``."""
    error_id: str = ""

    @property
    def is_stop_by_person(self) -> bool:
        """Whether a person stopped the plan."""
        return self.kind == StopKind.STOPPED

    @property
    def moved_runs(self) -> int:
        """How many dag runs drifted; 0 where only the first of the rows are known."""
        return len({row.run_id for row in self.moved}) if self.total == len(self.moved) else 0

    @property
    def moved_in_runs_only(self) -> bool:
        """Whether each row that drifted belongs to a dag run, so that the other runs can still be cleared."""
        return all(row.run_id for row in self.moved)

    def to_json(self) -> dict[str, Any]:
        """Return what is given of it as JSON values."""
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


@dataclass(frozen=True, slots=True)
class LeftOutRuns:
    """Runs that an undo left out because the database did not put them back in time."""

    run_ids: tuple[str, ...]
    reason: str = ""
    remedy: str = ""
    code: str = ""
    error_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return _given(asdict(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LeftOutRuns:
        """Rebuild it from :meth:`to_json`."""
        texts = {name: values.get(name) or "" for name in ("reason", "remedy", "code", "error_id")}
        return cls(tuple(values.get("run_ids", ())), **texts)


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
