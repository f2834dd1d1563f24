"""Clears of one batch, ours and Airflow's plain call, and all the rows that they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import time_machine
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.utils.state import DagRunState
from sqlalchemy import select, true, update

from safe_clear_plugin.airflow_api.clear import clear_runs, locks, related_rows
from tests.db.clear_contract import DAG_ID
from tests.support.factories import add_deadline, hitl_detail, leave_trail, make_run, set_states, store_dag
from tests.support.factories import task_instances as task_instances_of
from tests.support.scenes import etl_dag
from tests.support.snapshots import Snapshot, snapshot

SPEEDUPS = "AIRFLOW__SAFE_CLEAR__SPEEDUPS"
NOW = datetime(2026, 3, 1, 12, 30, tzinfo=timezone.utc)


TRAILS = (
    "note",
    "xcom",
    "rendered",
    "another_try",
    "same_try",
    "trigger",
    "resumes",
    "without_version",
    "never_tried",
)


RANDOM = ("context_carrier", "span_status")


def leave_everything(session: Any) -> None:
    """Leave a reschedule, a question, an old try and more on some task instances of the run."""
    run = session.scalars(select(DagRun).where(DagRun.run_id == "run")).one()
    for number, ti in enumerate(task_instances_of(run, session=session)):
        if number % 3 == 0:
            leave_trail(ti, "rescheduled", session=session)
        if number % 4 == 0:
            hitl_detail(ti, session=session, answered=number % 8 == 0)
        if number % 2 == 0:
            leave_trail(ti, TRAILS[number // 2 % len(TRAILS)], session=session)
    session.commit()
    add_deadline(run, session=session)


def ids_of_run(session: Any, *, planned: Callable[[Any], bool]) -> list[Any]:
    rows = session.execute(select(TaskInstance.id, TaskInstance.task_id).where(TaskInstance.run_id == "run"))
    return [row.id for row in rows if planned(row)]


def plain(ids: list[Any], session: Any, *, on_latest: bool, reset: bool) -> None:
    """Clear as Airflow does: load, call."""
    chosen = session.scalars(
        select(TaskInstance)
        .join(DagRun, (DagRun.dag_id == TaskInstance.dag_id) & (DagRun.run_id == TaskInstance.run_id))
        .where(TaskInstance.id.in_(ids))
        .order_by(DagRun.id, TaskInstance.task_id, TaskInstance.map_index)
    )
    clear_task_instances(
        list(chosen),
        session,
        dag_run_state=DagRunState.QUEUED if reset else False,
        run_on_latest_version=on_latest,
    )


def ours(ids: list[Any], session: Any, *, on_latest: bool, reset: bool) -> None:
    clear_as_a_batch(DagRun.run_id == "run", ids, session, reset_dag_runs=reset, on_latest=on_latest)


def clear_as_a_batch(of_batch: Any, ids: list[Any], session: Any, **options: Any) -> None:
    pks = list(session.scalars(select(DagRun.id).where(of_batch)))
    runs = locks.load_dag_runs(pks, session)
    chosen = select(TaskInstance.id).where(TaskInstance.id.in_(ids))
    there = related_rows_of(runs, chosen.subquery(), session)
    clear_runs.clear(DAG_ID, runs, chosen, related=there, session=session, **options)


def related_rows_of(runs: Iterable[Any], wanted: Any, session: Any) -> related_rows.RelatedRows:
    run_ids = [run.run_id for run in runs]
    return related_rows.count_related_rows(DAG_ID, run_ids, [run.id for run in runs], wanted, session)


def left_by(clear: Callable[..., None], ids: list[Any], session: Any, **options: Any) -> Snapshot:
    """Return all that a clear leaves when time stands still; roll it back."""
    with time_machine.travel(NOW, tick=False):
        clear(ids, session, **options)
        session.flush()
    rows = snapshot(session)
    session.rollback()
    session.expire_all()
    return rows


def settled(rows: Snapshot, before: Snapshot) -> Snapshot:
    """Replace what is drawn at random: the ids that the clear gave, wherever they stand, trace contexts."""
    known = {str(row["id"]) for row in before["task_instance"]}
    names = {
        str(row["id"]): f"new id of {row['task_id']} {row['map_index']}"
        for row in rows["task_instance"]
        if str(row["id"]) not in known
    }

    def settle(column: str, value: Any) -> Any:
        if column in RANDOM:
            return value is not None
        return names.get(str(value), value)

    return {
        table: sorted(
            ({column: settle(column, value) for column, value in row.items()} for row in found), key=repr
        )
        for table, found in rows.items()
    }


def differences(one: Snapshot, other: Snapshot) -> dict[str, Any]:
    return {
        table: (
            [row for row in one[table] if row not in other[table]],
            [row for row in other[table] if row not in one[table]],
        )
        for table in one
        if one[table] != other[table]
    }


def leave_one(kind: str, session: Any) -> None:
    run = session.scalars(select(DagRun).where(DagRun.run_id == "run")).one()
    one, another, *_ = task_instances_of(run, session=session)
    if kind == "deadline":
        add_deadline(run, session=session)
    elif kind == "question":
        hitl_detail(one, session=session)
    elif kind == "try of another id":
        leave_trail(one, "same_try", session=session)
        session.execute(update(TaskInstanceHistory).values(task_instance_id=uuid4()))
        session.execute(update(TaskInstance).where(TaskInstance.id == another.id).values(state="running"))
    elif kind == "beside without_version":
        session.execute(
            update(TaskInstance).where(TaskInstance.task_id == "load").values(dag_version_id=None)
        )
    elif kind != "nothing":
        leave_trail(one, kind, session=session)
    session.commit()


def big_history(session: Any, runs: int = 12) -> list[Any]:
    dag = etl_dag(DAG_ID)
    store_dag(dag, session=session)
    states = ("success", "failed", "running", "skipped", "up_for_retry", "deferred", None)
    ids = []
    for number in range(runs):
        run = make_run(dag, session=session, run_id="run" if number == 0 else f"run_{number}", state="failed")
        tasks = ("extract", "transform", "load")
        set_states(run, {t: states[(number + i) % len(states)] for i, t in enumerate(tasks)}, session=session)
        ids += [ti.id for ti in task_instances_of(run, session=session)]
    return ids


def clear_all(ids: list[Any], session: Any) -> None:
    clear_as_a_batch(true(), ids, session, reset_dag_runs=True, on_latest=False)
