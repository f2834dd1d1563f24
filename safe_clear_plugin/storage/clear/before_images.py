"""Before-images: Airflow's rows as they were before a clear, copied by the database itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Select,
    Table,
    Uuid,
    and_,
    cast,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear.related_rows import RelatedRows
from safe_clear_plugin.airflow_api.platform.airflow_tables import (
    dag_run,
    deadline,
    task_instance,
    task_instance_history,
    task_reschedule,
)
from safe_clear_plugin.airflow_api.platform.joins import exists_row, is_one_of, of_dag
from safe_clear_plugin.airflow_api.platform.task_states import is_unfinished
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, PLANNED_EFFECTS
from safe_clear_plugin.core.states import FINISHED_RUN_STATES
from safe_clear_plugin.storage.rows import of_plan, same_task_instance
from safe_clear_plugin.storage.tables import (
    before_dag_run,
    before_deadline,
    before_task_instance,
    before_task_reschedule,
    plan_run,
    plan_task_instance,
)


def capture(
    plan_id: UUID, dag_id: str, run_ids: Sequence[str], related: RelatedRows, session: Session
) -> None:
    """Copy everything that clearing these runs changes or deletes, under their locks and before the clear.

    So too what the scheduler will change because of it.

    Of the ``related`` rows, only the kinds that there are. Of the task instances that the plan does not
    cover: unfinished ones of finished runs, which prove at an undo that nothing else was started, and
    unfinished ones without a DAG version, which the clear gives their run's
    (``_pin_versionless_tis_to_run_version``).
    """
    _capture_task_instances(plan_id, dag_id, run_ids, session)
    runs = select(plan_run.c.dag_run_id).where(of_plan(plan_run, plan_id, run_ids))
    _copy(before_dag_run, plan_id, select(*dag_run.c).where(is_one_of(dag_run.c.id, runs)), session)
    if related.deadlines:
        deadlines = select(*deadline.c).where(is_one_of(deadline.c.dagrun_id, runs))
        _copy(before_deadline, plan_id, deadlines, session)
    planned = plan_task_instance
    cleared = and_(of_plan(planned, plan_id, run_ids), planned.c.effect.in_(CLEARED_EFFECTS))
    if related.reschedules:
        ids = select(planned.c.task_instance_id).where(cleared)
        reschedules = select(*task_reschedule.c).where(is_one_of(task_reschedule.c.ti_id, ids))
        _copy(before_task_reschedule, plan_id, reschedules, session)
    if related.tries:
        history = task_instance_history
        in_history = exists_row(history, history.c.task_instance_id == planned.c.task_instance_id)
        session.execute(update(planned).where(cleared, in_history).values(had_history=True))


def _capture_task_instances(plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session) -> None:
    ti, planned = task_instance, plan_task_instance
    covered = exists_row(
        planned,
        of_plan(planned, plan_id),
        same_task_instance(planned, ti),
        planned.c.effect.in_(PLANNED_EFFECTS),
    )
    finished = select(dag_run.c.run_id).where(
        of_dag(dag_run, dag_id), dag_run.c.run_id.in_(run_ids), dag_run.c.state.in_(FINISHED_RUN_STATES)
    )
    uncovered = and_(is_unfinished(ti.c.state), or_(ti.c.dag_version_id.is_(None), ti.c.run_id.in_(finished)))
    _copy(
        before_task_instance,
        plan_id,
        select(*ti.c).where(of_dag(ti, dag_id), ti.c.run_id.in_(run_ids), or_(covered, uncovered)),
        session,
    )


def _copy(mirror: Table, plan_id: UUID, rows: Select[Any], session: Session) -> None:
    """Copy rows of the table that ``mirror`` mirrors, in the order of its columns."""
    names = [column.name for column in mirror.info["mirrors"].c]
    plan = cast(literal(plan_id, Uuid()), Uuid())
    session.execute(insert(mirror).from_select([*names, "plan_id"], rows.add_columns(plan)))
