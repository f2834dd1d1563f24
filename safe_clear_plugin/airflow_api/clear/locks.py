"""The locks of a clear and of an undo, in the order in which the scheduler takes them too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from airflow.models.dagrun import DagRun
from airflow.models.pool import Pool
from airflow.utils.db import DBLocks, create_global_lock
from airflow.utils.state import TaskInstanceState
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear.lock_limits import limit_transaction
from safe_clear_plugin.airflow_api.platform.airflow_tables import engine, task_instance
from safe_clear_plugin.airflow_api.platform.joins import of_dag

MIGRATION_LOCK_MS = 60_000
"""How long to wait for others' migrations; Airflow's default is 1.8 seconds on PostgreSQL."""


@contextmanager
def lock_migrations(session: Session) -> Iterator[None]:
    """Hold the lock under which Airflow and its DB managers migrate. SQLite has no such lock."""
    with create_global_lock(session, DBLocks.MIGRATIONS, MIGRATION_LOCK_MS):
        yield


def lock_dag_runs(run_pks: Sequence[int], session: Session) -> None:
    """Lock dag runs by id.

    The scheduler takes the run first as well, so neither waits for the other in a circle;
    ``clear_task_instances`` on its own locks the other way round. On PostgreSQL the lock is
    ``FOR NO KEY UPDATE``, which lets foreign keys to the run be checked meanwhile.
    """
    session.execute(_locking(select(DagRun.id), run_pks)).all()


def load_dag_runs(run_pks: Sequence[int], session: Session) -> Sequence[DagRun]:
    """Lock dag runs as :func:`lock_dag_runs` does, and return them as they are then."""
    query = _locking(select(DagRun), run_pks).execution_options(populate_existing=True)
    return session.scalars(query).all()


def _locking(query: Select[Any], run_pks: Sequence[int]) -> Select[Any]:
    rows = query.where(DagRun.id.in_(run_pks)).order_by(DagRun.id)
    return rows.with_for_update(key_share=True, of=DagRun)


def lock_out_scheduler(session: Session) -> None:
    """Keep every scheduler from queueing task instances until the transaction ends.

    Its critical section (``SchedulerJobRunner._executable_task_instances_to_queued``) chooses scheduled task
    instances and locks them only afterwards, so a state that is put back in between would be run. It only
    tries the advisory lock and skips the round; where there is none, it locks the pools, as is done here.
    From then on the transaction has little time.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(DBLocks.SCHEDULER_CRITICAL_SECTION.value)))
        limit_transaction(session.connection())
    else:
        session.execute(select(Pool.id).order_by(Pool.id).with_for_update()).all()


def can_lock_out_scheduler() -> bool:
    """Whether :func:`lock_out_scheduler` has a lock to take; SQLite has none, neither advisory nor on rows.

    There the critical section reads its *scheduled* task instances outside of any transaction (the driver
    begins one at the first write only), then queues them with an UPDATE by dag id, run id, task id and map
    index that asks for no state. So one that it may have read as scheduled is not to be changed under it.
    One without a state that was never scheduled since its clear is safe: the critical section cannot have
    read it, and ``DagRun.schedule_tis`` writes by id and state. A clear gives a new id, an undo the old one
    again, so that UPDATE finds no row; nor do the ORM's, which are by id too.
    """
    return engine().dialect.name != "sqlite"


def lock_task_instances(
    dag_id: str,
    run_ids: Sequence[str],
    session: Session,
    *,
    touched: Select[tuple[UUID]] | None = None,
    whole: Sequence[str] = (),
) -> set[UUID]:
    """Lock the task instances of dag runs by key, and return the ids of those that are locked.

    Running ones are left alone, except in the runs that are to be locked ``whole`` and those whose ids
    ``touched`` selects: their heartbeats do not wait for us, and they may end meanwhile.
    """
    ti = task_instance
    chosen = or_(ti.c.state.is_distinct_from(TaskInstanceState.RUNNING), ti.c.run_id.in_(whole))
    if touched is not None:
        chosen = or_(chosen, ti.c.id.in_(touched))
    return set(
        session.scalars(
            select(ti.c.id)
            .where(of_dag(ti, dag_id), ti.c.run_id.in_(run_ids), chosen)
            .order_by(ti.c.dag_id, ti.c.run_id, ti.c.task_id, ti.c.map_index)
            .with_for_update(of=ti)
        )
    )
