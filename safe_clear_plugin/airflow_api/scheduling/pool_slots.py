"""Pools: their slots, how many of them are open, and for whom."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
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
        """Whether a task that takes so many slots can have them, if its DAG is that team's."""
        return 0 < self.total >= slots and self.team in (None, team)


def pool_limits(names: Collection[str], session: Session) -> dict[str, PoolSlots]:
    """Return the pools that exist of these, as if all of their slots were open."""
    return {name: PoolSlots(slots, slots, team) for name, slots, team, _ in _pools(names, session)}


def _pools(names: Collection[str], session: Session) -> Iterator[tuple[str, float, str | None, bool]]:
    """Yield name, slots, team and whether deferred task instances count, of the pools that exist.

    ``_executable_task_instances_to_queued`` looks at the team only where Airflow runs for several.
    """
    several = teams.runs_for_several()
    query = select(Pool.pool, Pool.slots, Pool.include_deferred, Pool.team_name)
    for name, slots, include_deferred, team in session.execute(query.where(Pool.pool.in_(names))):
        yield name, math.inf if slots == -1 else slots, team if several else None, bool(include_deferred)


def pools(names: Collection[str], session: Session) -> dict[str, PoolSlots]:
    """Return the pools that exist of these, counted as ``Pool.slots_stats`` does."""
    occupied = _occupied(names, session)
    slots = {}
    for name, total, team, include_deferred in _pools(names, session):
        used = sum(
            count
            for (pool, state), count in occupied.items()
            if pool == name and (state != "deferred" or include_deferred)
        )
        slots[name] = PoolSlots(total, max(total - used, 0), team)
    return slots


def _occupied(names: Collection[str], session: Session) -> dict[tuple[str, str], int]:
    states = [*(str(state.value) for state in EXECUTION_STATES), "deferred"]
    result = session.execute(
        select(task_instance.c.pool, task_instance.c.state, func.sum(task_instance.c.pool_slots).label("n"))
        .where(task_instance.c.pool.in_(names), task_instance.c.state.in_(states))
        .group_by(task_instance.c.pool, task_instance.c.state)
    )
    return {(row.pool, str(row.state)): int(row.n) for row in result}
