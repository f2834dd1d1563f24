"""Pools: their slots, how many of them are open, and for whom."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from airflow.models.pool import Pool
from airflow.ti_deps.dependencies_states import EXECUTION_STATES
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import teams
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance


@dataclass(frozen=True, slots=True)
class PoolSlots:
    """The slots of a pool, infinite for -1, and how many of them are free."""

    total: float
    open: float
    team: str | None = None
    """The only team whose DAGs may use it, where Airflow runs for several."""

    def has_room(self, slots: int, team: str | None) -> bool:
        """Whether a task that needs this number of slots can have them, if its DAG belongs to this team."""
        return 0 < self.total >= slots and self.team in (None, team)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The slots of a pool, the team that it belongs to, and whether deferred task instances take slots."""

    total: float
    team: str | None
    include_deferred: bool

    @property
    def when_empty(self) -> PoolSlots:
        """The pool as if all of its slots were open."""
        return PoolSlots(self.total, self.total, self.team)


def pool_limits(names: Collection[str], session: Session) -> dict[str, PoolLimits]:
    """Return the pools with these names that exist.

    ``_executable_task_instances_to_queued`` checks the team only if Airflow runs for several teams.
    """
    several = teams.runs_for_several()
    query = select(Pool.pool, Pool.slots, Pool.include_deferred, Pool.team_name)
    return {
        name: PoolLimits(
            math.inf if slots == -1 else slots, team if several else None, bool(include_deferred)
        )
        for name, slots, include_deferred, team in session.execute(query.where(Pool.pool.in_(names)))
    }


def pools(limits: Mapping[str, PoolLimits], session: Session) -> dict[str, PoolSlots]:
    """Return the open slots of pools, counted as ``Pool.slots_stats`` does."""
    occupied = _occupied(limits.keys(), session)
    slots = {}
    for name, limit in limits.items():
        used = sum(
            count
            for (pool, state), count in occupied.items()
            if pool == name and (state != "deferred" or limit.include_deferred)
        )
        slots[name] = PoolSlots(limit.total, max(limit.total - used, 0), limit.team)
    return slots


def _occupied(names: Collection[str], session: Session) -> dict[tuple[str, str], int]:
    states = [*(str(state.value) for state in EXECUTION_STATES), "deferred"]
    result = session.execute(
        select(task_instance.c.pool, task_instance.c.state, func.sum(task_instance.c.pool_slots).label("n"))
        .where(task_instance.c.pool.in_(names), task_instance.c.state.in_(states))
        .group_by(task_instance.c.pool, task_instance.c.state)
    )
    return {(row.pool, str(row.state)): int(row.n) for row in result}
