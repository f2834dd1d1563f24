"""A DAG with a past of many kinds, and what a clear and an undo did to each of its runs."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskreschedule import TaskReschedule
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from sqlalchemy import select
from sqlalchemy.orm import Session

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.clear.apply import apply_plan
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.storage.plans import plan_list, plan_reader
from safe_clear_plugin.storage.tables import metadata
from tests.support.driving import drive, drive_once
from tests.support.factories import make_run, set_states, store_dag, task_instances
from tests.support.snapshots import Row, Snapshot, snapshot

ME = Actor("1", "Me")
OTHER = Actor("2", "Somebody else")
DAG_ID = "nightly"
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
OWN = {table.name for table in metadata.sorted_tables}
RUNS = ("run_1", "run_2", "run_3", "run_4", "run_5")
PER_RUN = 4

# The time of the clear, or drawn for each clear.
BY_CHANCE = {"updated_at", "queued_at", "context_carrier"}
# The clear gives a new id, and an end to a task instance that had none.
GIVEN_BY_THE_CLEAR = ("id", "end_date", "duration")

RunRows = list[tuple[str, Row]]


def now() -> datetime:
    return datetime.now(timezone.utc)


def store_nightly(session: Session, dag_id: str = DAG_ID, runs: int = len(RUNS)) -> None:
    """Store ``extract >> part[0, 1] >> load`` with runs that a clear treats each in its own way."""
    with DAG(dag_id, schedule=None, start_date=START) as dag:
        _ = (
            EmptyOperator(task_id="extract", retries=2)
            >> EmptyOperator.partial(task_id="part").expand(doc=["a", "b"])
            >> EmptyOperator(task_id="load")
        )
    store_dag(dag, session=session)
    kinds: list[dict[str, Any]] = [
        {"state": "failed"},
        {"state": "success"},
        {"state": "running"},
        {"state": "failed", "without_version": True},
        {"state": "success"},
    ]
    states: list[dict[Any, str | None]] = [
        {"extract": "success", ("part", 0): "failed", ("part", 1): "success", "load": "upstream_failed"},
        {"extract": "success", "part": "success", "load": "success"},
        {"extract": "success", ("part", 0): "up_for_retry", ("part", 1): "success", "load": None},
        {"extract": "failed", "part": "upstream_failed", "load": "upstream_failed"},
        {"extract": "success", "part": "skipped", "load": "removed"},
    ]
    for number in range(runs):
        kind, tasks = kinds[number % len(kinds)], states[number % len(states)]
        date = START + timedelta(days=number)
        run = make_run(dag, session=session, logical_date=date, run_id=f"run_{number + 1}", **kind)
        set_states(run, tasks, session=session)
        extract = task_instances(run, session=session)[0]
        session.add(TaskReschedule(extract.id, START, START, START))
    session.commit()


def plan_all(actor: Actor = ME, dag_id: str = DAG_ID, **more: Any) -> PlanSummary:
    selection = Selection(dag_id, date_from=START, date_to=START + timedelta(days=99), **more)
    return make_plan(selection, actor, now())


def step(plan: PlanSummary, actor: Actor = ME, **options: Any) -> PlanSummary:
    """Have it cleared, and clear one batch."""
    return drive_once(apply_plan(plan, plan.fingerprint, "because", actor, now(), **options).id)


def clear_all(plan: PlanSummary, actor: Actor = ME, **options: Any) -> PlanSummary:
    """Have it cleared, batch after batch."""
    return drive(apply_plan(plan, plan.fingerprint, "because", actor, now(), **options).id)


def undo_all(plan: PlanSummary, actor: Actor = ME) -> PlanSummary:
    """Have it put back, batch after batch."""
    return drive(undo_plan(plan, (), "by mistake", actor, now()).id)


def fresh(plan: PlanSummary, session: Session) -> PlanSummary:
    """Return the plan as it is now."""
    session.rollback()
    found = plan_reader.get(UUID(plan.id), session)
    assert found is not None
    return found


def everything(session: Session) -> Snapshot:
    """All rows of Airflow's tables but the audit log."""
    session.rollback()
    return snapshot(session, exclude_tables=OWN | {"log"})


def but_for_updated_at(tables: Snapshot) -> Snapshot:
    return {name: [_without(row, {"updated_at"}) for row in rows] for name, rows in tables.items()}


def by_run(tables: Snapshot) -> dict[str, RunRows]:
    """Return the rows that belong to each dag run, from whatever table."""
    owner: dict[Any, str] = {}
    for row in tables["task_instance"]:
        owner["ti", row["id"]] = row["run_id"]
    for row in tables["task_instance_history"]:
        owner["ti", row["task_instance_id"]] = row["run_id"]
    for row in tables["dag_run"]:
        owner["run", row["id"]] = row["run_id"]
    found: dict[str, RunRows] = defaultdict(list)
    for name, rows in tables.items():
        for row in rows:
            run_id = row.get("run_id") or owner.get(("ti", row.get("ti_id")))
            run_id = run_id or owner.get(("run", row.get("dag_run_id", row.get("dagrun_id"))))
            if run_id:
                found[run_id].append((name, row))
    return dict(found)


def as_cleared(rows: RunRows, before: RunRows) -> list[str]:
    """Return the rows of a run in a form that is the same for every clear of it."""
    known = {name: {row[name] for _, row in before if name in row} for name in GIVEN_BY_THE_CLEAR}
    result = []
    for table, row in rows:
        plain = _without(row, BY_CHANCE)
        for name in known.keys() & plain.keys():
            if plain[name] not in known[name]:
                plain[name] = "given by the clear"
        result.append(f"{table} {sorted(plain.items())}")
    return sorted(result)


def _without(row: Row, names: set[str]) -> Row:
    return {column: value for column, value in row.items() if column not in names}


def audited(plan: PlanSummary, event: str, session: Session) -> list[tuple[str, str, int]]:
    """Return the task instances that the audit log has for the plan, each as often as it is there."""
    rows = session.scalars(select(Log).where(Log.event == event, Log.extra.contains(plan.id)))
    return sorted((row.run_id, row.task_id, row.map_index) for row in rows)


def keys(session: Session, run_ids: set[str], dag_id: str = DAG_ID) -> list[tuple[str, str, int]]:
    """Return the keys of all task instances of runs."""
    ti = TaskInstance
    rows = session.execute(
        select(ti.run_id, ti.task_id, ti.map_index).where(ti.dag_id == dag_id, ti.run_id.in_(run_ids))
    )
    return sorted(tuple(row) for row in rows)


def batch_sizes(plan: PlanSummary, kind: str, session: Session) -> list[int]:
    """Return how many dag runs each batch on the receipt has."""
    return [batch.dag_runs for batch in plan_list.batches(UUID(plan.id), session) if batch.kind == kind]


def tries_in_history(session: Session) -> list[tuple[Any, ...]]:
    """Return the key and the try of each row of the history."""
    h = TaskInstanceHistory
    rows = session.execute(select(h.dag_id, h.run_id, h.task_id, h.map_index, h.try_number))
    return sorted(tuple(row) for row in rows)
