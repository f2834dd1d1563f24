"""Filters for plans and for the rows of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from safe_clear_plugin.core.plan import TeamDag


@dataclass(frozen=True, slots=True)
class PlanFilter:
    """A filter for the plans of these DAGs. ``user`` is a part of a name, ``user_id`` one person's id."""

    now: datetime
    dags: Sequence[TeamDag] = ()
    user: str = ""
    user_id: str = ""
    task_id: str = ""
    run_id: str = ""
    map_index: int | None = None
    """Filters on the task instances that the plans clear."""
    status: str = ""
    """A :class:`~safe_clear_plugin.core.plan.ShownStatus`, or none of them."""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A filter for the rows of a plan; empty means all.

    ``task``, ``run`` and ``why`` match a part, ``task_id`` and ``run_id`` all of it. The date that a run goes
    by lies from ``run_from`` on and before ``run_to``.
    """

    task: str = ""
    run: str = ""
    state: str = ""
    effect: str = ""
    """An :class:`~safe_clear_plugin.core.effects.Effect`; those of the scheduler count as the one shown."""
    outcome: str = ""
    why: str = ""
    task_id: str = ""
    run_id: str = ""
    map_index: int | None = None
    run_from: datetime | None = None
    run_to: datetime | None = None


EVERY_ROW = RowFilter()
