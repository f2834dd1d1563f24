"""Outcomes of task instances that run: they wait for a person, or go on with a stored job."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import hitl_detail
from safe_clear_plugin.airflow_api.platform.joins import is_fixed, is_one_of
from safe_clear_plugin.airflow_api.platform.key_table import rows_of_keys
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.airflow_api.scheduling import stored_state
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, PENDING_EFFECTS
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.outcomes import Outcome, OutcomeReason
from safe_clear_plugin.storage.rows import planned_with_run
from safe_clear_plugin.storage.tables import ALL_MAP_INDEXES, plan_run, plan_task_instance

rows_ = plan_task_instance


def asking_tasks(plan_id: UUID, session: Session) -> dict[int, set[str]]:
    """Return, by shape, the tasks with a cleared task instance that has asked a person before."""
    query = (
        select(plan_run.c.shape, rows_.c.task_id)
        .select_from(planned_with_run().join(hitl_detail, hitl_detail.c.ti_id == rows_.c.task_instance_id))
        .where(is_fixed(plan_run.c.plan_id, plan_id), rows_.c.effect.in_(CLEARED_EFFECTS))
    )
    found: dict[int, set[str]] = {}
    for row in session.execute(query.distinct()):
        found.setdefault(row.shape, set()).add(row.task_id)
    return found


def wait_for_person(plan_id: UUID, by_shape: Mapping[int, Collection[str]], session: Session) -> None:
    """Write that the task instances of tasks that ask a person will wait for one."""
    shapes: dict[str, list[int]] = {}
    for shape, task_ids in by_shape.items():
        for task_id in task_ids:
            shapes.setdefault(task_id, []).append(shape)
    for task_id, here in shapes.items():
        of_shapes = select(plan_run.c.run_id).where(plan_run.c.plan_id == plan_id, plan_run.c.shape.in_(here))
        written = update(rows_).where(
            rows_.c.plan_id == plan_id,
            rows_.c.task_id == task_id,
            rows_.c.outcome == Outcome.RUNS,
            rows_.c.effect.in_(PENDING_EFFECTS),
            is_one_of(rows_.c.run_id, of_shapes),
        )
        values = {"outcome": Outcome.WAITS.value, "outcome_reason": OutcomeReason.WAITS_FOR_PERSON.value}
        session.execute(written.values(**values).execution_options(synchronize_session=False))


def resume(plan_id: UUID, dag_id: str, session: Session) -> int:
    """Write that task instances go on with what the task state store has of them; return how many."""
    stored = stored_state.stored_keys(dag_id).subquery("stored")
    same = and_(*(rows_.c[name] == stored.c[name] for name in ("run_id", "task_id", "map_index")))
    written = update(rows_).where(
        rows_.c.plan_id == plan_id, rows_.c.outcome == Outcome.RUNS, rows_.c.effect.in_(PENDING_EFFECTS), same
    )
    values = {"outcome": Outcome.RESUMES.value, "outcome_reason": OutcomeReason.STORED_STATE.value}
    return count_written(written.values(**values), session)


def give_reason(
    plan_id: UUID, task_id: str, run_ids: Iterable[str], reason: OutcomeReason, session: Session
) -> None:
    """Write the reason of an outcome for a task's instances in some runs, if the outcome is ``runs``."""
    keys = [TaskInstanceKey(run_id, task_id, ALL_MAP_INDEXES) for run_id in run_ids]
    here = rows_of_keys(keys, "here")
    written = update(rows_).where(
        rows_.c.plan_id == plan_id,
        rows_.c.task_id == task_id,
        rows_.c.outcome == Outcome.RUNS,
        rows_.c.outcome_reason.is_(None),
        is_one_of(rows_.c.run_id, select(here.c.run_id)),
    )
    session.execute(written.values(outcome_reason=reason.value).execution_options(synchronize_session=False))


def count_mapped(plan_id: UUID, outcome: Outcome, session: Session) -> int:
    """Count the task instances with an outcome that have a map index."""
    mapped = (rows_.c.plan_id == plan_id, rows_.c.outcome == outcome, rows_.c.map_index >= 0)
    return session.scalar(select(func.count()).select_from(rows_).where(*mapped)) or 0


def count_answered(plan_id: UUID, session: Session) -> tuple[int, int]:
    """Count the task instances whose answer by a person is lost when they start.

    First those that will wait for a person again, then those for which a branch decides whether they run.
    """
    open_ = (OutcomeReason.BRANCH_DECIDES_AGAIN, OutcomeReason.UPSTREAM_OPEN)
    decided = rows_.c.outcome_reason.in_(open_)
    query = (
        select(func.count().filter(rows_.c.outcome == Outcome.WAITS), func.count().filter(decided))
        .select_from(rows_.join(hitl_detail, hitl_detail.c.ti_id == rows_.c.task_instance_id))
        .where(rows_.c.plan_id == plan_id, hitl_detail.c.responded_at.is_not(None))
    )
    waiting, perhaps = session.execute(query).one()
    return waiting, perhaps
