"""Records that belong to a plan: its batches, its tasks, other clears of its task instances."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """The result of one transaction: ``task_instances`` were cleared or put back, ``stayed`` could not be."""

    number: int
    kind: Literal["clear", "undo"]
    at: datetime
    by_name: str
    reason: str
    dag_runs: int
    task_instances: int
    stayed: int
    first_run: datetime
    last_run: datetime


@dataclass(frozen=True, slots=True)
class OtherClear:
    """Another plan that cleared some of the same task instances."""

    plan_id: str
    by_name: str
    at: datetime
    task_instances: int
    undone: bool


@dataclass(frozen=True, slots=True)
class TouchedTask:
    """A task of the plan: how many task instances are in it, how many change, how many are cleared."""

    task_id: str
    planned: int
    changed: int
    cleared: int


@dataclass(frozen=True, slots=True)
class DriverState:
    """The driver of a plan that is in progress."""

    name: str | None
    is_working: bool
    is_missing: bool
    """Whether its next step has been due for so long that no driver seems to run."""
