"""Putting back what a clear changed, as the stored verdicts say: set-based SQL from the before-images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import (
    dag_run,
    deadline,
    task_instance,
    task_instance_history,
    task_reschedule,
)
from safe_clear_plugin.airflow_api.platform.joins import hash_joins, is_one_of
from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.states import FINISHED_RUN_STATES
from safe_clear_plugin.storage.clear.before_images import of_plan, same_key
from safe_clear_plugin.storage.tables import (
    before_dag_run,
    before_deadline,
    before_task_instance,
    before_task_reschedule,
    plan_run,
    plan_task_instance,
)
from safe_clear_plugin.storage.undo.verdicts import is_covered

OWN_TO_THE_CLEAR = (
    "clear_number",
    "queued_at",
    "context_carrier",
    "created_dag_version_id",
    "bundle_version",
)
"""Columns of an unfinished dag run that ``clear_task_instances`` changes; the rest is the scheduler's."""

TASK_INSTANCE_KEEPS = ("updated_at", "trigger_id")
"""Columns that a task instance keeps: the second one no clear changes, and the trigger may be gone by now."""

RUN_KEEPS = ("updated_at", "backfill_id", "log_template_id")
"""Columns that a finished dag run keeps: neither clear nor scheduler changes the references."""

TASK_INSTANCE_VERIFIED = (
    "id",
    "state",
    "try_number",
    "max_tries",
    "start_date",
    "end_date",
    "queued_dttm",
    "next_method",
)
RUN_VERIFIED = ("clear_number", "queued_at", "created_dag_version_id", "bundle_version")


def restore_task_instances(plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session) -> None:
    """Put the rows back that the stored verdicts name, history and reschedules with them."""
    planned, image, live = plan_task_instance, before_task_instance, task_instance
    back = and_(of_plan(planned, plan_id, run_ids), planned.c.undo == "put_back")
    created = select(planned.c.new_task_instance_id).where(back, planned.c.effect == "create")
    session.execute(delete(live).where(is_one_of(live.c.id, created)))
    values: dict[Any, Any] = {
        column: image.c[column.name] for column in live.c if column.name not in TASK_INSTANCE_KEEPS
    }
    untouched_run = exists().where(
        before_dag_run.c.plan_id == plan_id,
        before_dag_run.c.id == plan_run.c.dag_run_id,
        dag_run.c.id == before_dag_run.c.id,
        dag_run.c.clear_number == before_dag_run.c.clear_number,
    )
    # A run that goes on keeps its DAG version, and the scheduler queues nothing without one.
    values[live.c.dag_version_id] = case(
        (or_(plan_run.c.put_back.is_(True), untouched_run), image.c.dag_version_id),
        else_=func.coalesce(image.c.dag_version_id, live.c.dag_version_id),
    )
    restored = (
        update(live)
        .where(
            back,
            planned.c.effect != "create",
            of_plan(plan_run, plan_id, run_ids),
            plan_run.c.run_id == planned.c.run_id,
            of_plan(image, plan_id, run_ids),
            same_key(image, planned),
            live.c.dag_id == dag_id,
            live.c.run_id.in_(run_ids),
            same_key(live, planned),
        )
        .values(values)
    )
    with hash_joins(session):
        session.execute(restored)
    cleared = and_(back, planned.c.effect.in_(CLEARED_EFFECTS))
    written = select(planned.c.task_instance_id).where(cleared, planned.c.had_history.is_(False))
    history = task_instance_history
    session.execute(delete(history).where(is_one_of(history.c.task_instance_id, written)))
    ids = select(planned.c.task_instance_id).where(cleared)
    _restore_reschedules(plan_id, ids, session)


def _restore_reschedules(plan_id: UUID, ids: Select[Any], session: Session) -> None:
    """Insert the reschedules of these task instances again.

    They get their own ids, as far as those are free: SQLite gives the ids of deleted rows to new ones.
    """
    kept, live = before_task_reschedule, task_reschedule
    ours = and_(kept.c.plan_id == plan_id, is_one_of(kept.c.ti_id, ids))
    taken = exists().where(live.c.id == kept.c.id)
    names = [column.name for column in live.c if column.name != "id"]
    again = select(*(kept.c[name] for name in names)).where(ours, taken).order_by(kept.c.id)
    # Held before the others go in, which would make every id a taken one.
    without_id = [dict(row._mapping) for row in session.execute(again)]
    with_id = ["id", *names]
    rows = select(*(kept.c[name] for name in with_id)).where(ours, not_(taken))
    session.execute(insert(live).from_select(with_id, rows))
    if without_id:
        session.execute(insert(live), without_id)


def restore_runs(plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session) -> None:
    """Give the runs that come back whole their own rows back, and what hangs on them."""
    image, live = before_dag_run, dag_run
    whole = and_(of_plan(plan_run, plan_id, run_ids), plan_run.c.put_back.is_(True))
    same_run = and_(
        whole,
        image.c.plan_id == plan_id,
        image.c.id == plan_run.c.dag_run_id,
        live.c.id == image.c.id,
        live.c.dag_id == dag_id,
        live.c.run_id.in_(run_ids),
    )
    finished = image.c.state.in_(FINISHED_RUN_STATES)
    everything = {column: image.c[column.name] for column in live.c if column.name not in RUN_KEEPS}
    own = {live.c[name]: image.c[name] for name in OWN_TO_THE_CLEAR}
    with hash_joins(session):
        session.execute(update(live).where(same_run, finished).values(everything))
        session.execute(update(live).where(same_run, not_(finished)).values(own))
        _unpin(plan_id, dag_id, run_ids, session)
    pks = select(plan_run.c.dag_run_id).where(whole)
    times = {column: before_deadline.c[column.name] for column in deadline.c}
    session.execute(
        update(deadline)
        .where(
            before_deadline.c.plan_id == plan_id,
            before_deadline.c.id == deadline.c.id,
            before_deadline.c.missed == deadline.c.missed,
            is_one_of(deadline.c.dagrun_id, pks),
        )
        .values(times)
    )


def _unpin(plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session) -> None:
    """Take the DAG version again from unfinished task instances that had none and did not move."""
    image, live = before_task_instance, task_instance
    session.execute(
        update(live)
        .where(
            of_plan(plan_run, plan_id, run_ids),
            plan_run.c.put_back.is_(True),
            live.c.dag_id == dag_id,
            live.c.run_id.in_(run_ids),
            live.c.run_id == plan_run.c.run_id,
            of_plan(image, plan_id, run_ids),
            same_key(image, live),
            image.c.id == live.c.id,
            image.c.dag_version_id.is_(None),
            image.c.state.is_not_distinct_from(live.c.state),
            image.c.try_number == live.c.try_number,
            not_(is_covered(plan_id, live)),
        )
        .values(dag_version_id=image.c.dag_version_id)
    )


def differences(
    plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session
) -> list[tuple[str, str, int]]:
    """Return the first rows that were to be put back and are not as before: run id, task id, map index.

    A dag run has an empty task id.
    """
    planned, image, live = plan_task_instance, before_task_instance, task_instance
    as_before = exists().where(
        of_plan(image, plan_id, run_ids),
        same_key(image, planned),
        live.c.dag_id == dag_id,
        live.c.run_id.in_(run_ids),
        # Of the image, not of the plan: the two are joined first, and by nothing else that could be hashed.
        same_key(live, image),
        *(live.c[name].is_not_distinct_from(image.c[name]) for name in TASK_INSTANCE_VERIFIED),
    )
    task_instances = select(planned.c.run_id, planned.c.task_id, planned.c.map_index).where(
        of_plan(planned, plan_id, run_ids),
        planned.c.undo == "put_back",
        planned.c.effect != "create",
        not_(as_before),
    )
    before = before_dag_run
    run_as_before = exists().where(
        before.c.plan_id == plan_id,
        before.c.id == plan_run.c.dag_run_id,
        dag_run.c.id == before.c.id,
        dag_run.c.dag_id == dag_id,
        dag_run.c.run_id.in_(run_ids),
        *(dag_run.c[name].is_not_distinct_from(before.c[name]) for name in RUN_VERIFIED),
        or_(
            before.c.state.not_in(FINISHED_RUN_STATES),
            and_(
                dag_run.c.state == before.c.state, dag_run.c.end_date.is_not_distinct_from(before.c.end_date)
            ),
        ),
    )
    runs = select(plan_run.c.run_id, literal(""), literal(-1)).where(
        of_plan(plan_run, plan_id, run_ids), plan_run.c.put_back.is_(True), not_(run_as_before)
    )
    with hash_joins(session):
        found = session.execute(task_instances.union_all(runs).limit(20)).all()
    return [(row[0], row[1], row[2]) for row in found]
