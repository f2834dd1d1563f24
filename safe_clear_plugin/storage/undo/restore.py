"""Restoring what a clear changed, as the stored verdicts say: set-based SQL from the before-images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
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

from safe_clear_plugin.airflow_api.clear import cleared_columns
from safe_clear_plugin.airflow_api.clear.column import ClearedColumn, Undo, present
from safe_clear_plugin.airflow_api.platform.airflow_tables import (
    dag_run,
    deadline,
    task_instance,
    task_instance_history,
    task_reschedule,
)
from safe_clear_plugin.airflow_api.platform.joins import exists_row, is_one_of, of_dag, without_index
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, CREATING_EFFECTS, SCHEDULER_EFFECTS
from safe_clear_plugin.core.states import FINISHED_RUN_STATES
from safe_clear_plugin.core.undo import Verdict
from safe_clear_plugin.storage.rows import is_planned_run, of_plan, same_task_instance
from safe_clear_plugin.storage.tables import (
    before_dag_run,
    before_deadline,
    before_task_instance,
    before_task_reschedule,
    plan_run,
    plan_task_instance,
)
from safe_clear_plugin.storage.undo.verdicts import is_covered


def restore_task_instances(plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session) -> None:
    """Put the rows back that the stored verdicts name, history and reschedules with them."""
    planned, image, live = plan_task_instance, before_task_instance, task_instance
    back = and_(of_plan(planned, plan_id, run_ids), planned.c.undo == Verdict.PUT_BACK.value)
    created = select(planned.c.new_task_instance_id).where(back, planned.c.effect.in_(CREATING_EFFECTS))
    session.execute(delete(live).where(is_one_of(live.c.id, created)))
    values = _values(cleared_columns.TASK_INSTANCE, live, image, Undo.RESTORE)
    untouched_run = exists().where(
        before_dag_run.c.plan_id == plan_id,
        before_dag_run.c.id == plan_run.c.dag_run_id,
        dag_run.c.id == before_dag_run.c.id,
        dag_run.c.clear_number == before_dag_run.c.clear_number,
    )
    goes_back = or_(plan_run.c.put_back.is_(True), untouched_run)
    for column, before in _values(cleared_columns.TASK_INSTANCE, live, image, Undo.RESTORE_WITH_RUN).items():
        values[column] = case((goes_back, before), else_=func.coalesce(before, column))
    # Of what the scheduler changed alone nothing is to be seen afterwards, not even that it was undone.
    by_scheduler = planned.c.effect.in_(SCHEDULER_EFFECTS)
    now = literal(utcnow(), live.c.updated_at.type)
    values.setdefault(live.c.updated_at, case((by_scheduler, image.c.updated_at), else_=now))
    restored = (
        update(live)
        .where(
            back,
            planned.c.effect.not_in(CREATING_EFFECTS),
            of_plan(plan_run, plan_id, run_ids),
            plan_run.c.run_id == planned.c.run_id,
            of_plan(image, plan_id, run_ids),
            same_task_instance(image, planned),
            of_dag(live, dag_id),
            live.c.run_id.in_(run_ids),
            same_task_instance(live, planned),
        )
        .values(values)
    )
    session.execute(restored)
    _restore_history(plan_id, back, session)


def _restore_history(plan_id: UUID, back: ColumnElement[bool], session: Session) -> None:
    """Delete the history that the clear wrote for restored task instances, and restore their reschedules."""
    planned = plan_task_instance
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
    taken = exists_row(live, live.c.id == kept.c.id)
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
        without_index(live.c.dag_id) == dag_id,
        is_planned_run(live, plan_id, run_ids),
        is_planned_run(image, plan_id, run_ids),
    )
    finished = image.c.state.in_(FINISHED_RUN_STATES)
    always = _values(cleared_columns.DAG_RUN, live, image, Undo.RESTORE)
    if_finished = _values(cleared_columns.DAG_RUN, live, image, Undo.RESTORE_FINISHED)
    session.execute(update(live).where(same_run, finished).values({**always, **if_finished}))
    session.execute(update(live).where(same_run, not_(finished)).values(always))
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


def _values(
    columns: Iterable[ClearedColumn[Any]], live: FromClause, image: FromClause, undo: Undo
) -> dict[ColumnElement[Any], ColumnElement[Any]]:
    """Return the columns that an undo treats so, with their values from before the clear."""
    named = (column.name for column in present(columns, live) if column.undo == undo)
    return {live.c[name]: image.c[name] for name in named}


def _as_before(
    columns: Iterable[ClearedColumn[Any]], live: FromClause, image: FromClause
) -> Iterator[ColumnElement[bool]]:
    """Yield a condition for each column that is compared after the undo."""
    for column in present(columns, live):
        same = live.c[column.name].is_not_distinct_from(image.c[column.name])
        if column.verify_undo and column.undo == Undo.RESTORE_FINISHED:
            yield or_(image.c.state.not_in(FINISHED_RUN_STATES), same)
        elif column.verify_undo:
            yield same


def _unpin(plan_id: UUID, dag_id: str, run_ids: Sequence[str], session: Session) -> None:
    """Take the DAG version again from unfinished task instances that had none and did not move."""
    image, live = before_task_instance, task_instance
    session.execute(
        update(live)
        .where(
            of_plan(plan_run, plan_id, run_ids),
            plan_run.c.put_back.is_(True),
            of_dag(live, dag_id),
            live.c.run_id.in_(run_ids),
            live.c.run_id == plan_run.c.run_id,
            of_plan(image, plan_id, run_ids),
            same_task_instance(image, live),
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
        same_task_instance(image, planned),
        of_dag(live, dag_id),
        live.c.run_id.in_(run_ids),
        # Of the image, not of the plan: the two are joined first, and by nothing else that could be hashed.
        same_task_instance(live, image),
        *_as_before(cleared_columns.TASK_INSTANCE, live, image),
    )
    task_instances = select(planned.c.run_id, planned.c.task_id, planned.c.map_index).where(
        of_plan(planned, plan_id, run_ids),
        planned.c.undo == Verdict.PUT_BACK.value,
        planned.c.effect.not_in(CREATING_EFFECTS),
        not_(as_before),
    )
    before = before_dag_run
    run_as_before = exists().where(
        before.c.plan_id == plan_id,
        before.c.id == plan_run.c.dag_run_id,
        dag_run.c.id == before.c.id,
        without_index(dag_run.c.dag_id) == dag_id,
        is_planned_run(dag_run, plan_id, run_ids),
        is_planned_run(before, plan_id, run_ids),
        *_as_before(cleared_columns.DAG_RUN, dag_run, before),
    )
    runs = select(plan_run.c.run_id, literal(""), literal(-1)).where(
        of_plan(plan_run, plan_id, run_ids), plan_run.c.put_back.is_(True), not_(run_as_before)
    )
    found = session.execute(task_instances.union_all(runs).limit(20)).all()
    return [(row[0], row[1], row[2]) for row in found]
