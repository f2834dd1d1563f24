"""Situations of a clear, and whether what a plan predicts of them is what Airflow does, column for column.

Each situation is planned, then cleared twice: by Airflow's function called directly, in a transaction that is
rolled back, and by ``apply_plan``. Both results are read with SQL of this module's own, so that a mistake in
Safe Clear's own verification cannot hide one in its prediction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import product
from typing import Any
from uuid import UUID

from airflow.models import taskinstance as airflow_taskinstance
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.sdk import DAG, BaseOperator
from airflow.utils.state import DagRunState, State, TaskInstanceState
from sqlalchemy import select, update

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.effects import SCHEDULER_EFFECTS
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.clear.apply import apply_plan
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.storage.tables import metadata, plan_run, plan_task_instance
from tests.support.driving import drive
from tests.support.factories import expand, make_run, store_dag, task_instances
from tests.support.snapshots import diff_snapshots, snapshot

ME = Actor("1", "Me")
DAG_ID = "contract"
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
STATES: tuple[str | None, ...] = (None, *(state.value for state in TaskInstanceState))
RUN_STATES = tuple(state.value for state in DagRunState)
RETRIES = {state: 3 * (number % 2) for number, state in enumerate(STATES)}
TRIES = ((0, 0), (0, 3), (1, 0), (1, 3), (2, 5), (4, 3))
"""(try_number, max_tries)"""
AIRFLOW_33 = hasattr(airflow_taskinstance, "_pin_versionless_tis_to_run_version")

CHANGED_BY_A_CLEAR = {"task_instance", "dag_run", "task_instance_history", "task_reschedule"}
CHANGED_BY_APPLY = {*CHANGED_BY_A_CLEAR, "log", *(table.name for table in metadata.sorted_tables)}
RUN_COLUMNS_THAT_MOVE = {
    "state",
    "start_date",
    "end_date",
    "queued_at",
    "last_scheduling_decision",
    "clear_number",
    "context_carrier",
    "created_dag_version_id",
    "bundle_version",
    "updated_at",
}

OTHER_STATES = {
    ("source", -1): "success",
    ("expanded", 0): "success",
    ("expanded", 1): "running",
    ("expanded", 2): "removed",
    ("shrinks", 0): "success",
    ("shrinks", 1): "failed",
    ("shrinks", 2): "running",
    ("grows", 0): "success",
    ("becomes_mapped", -1): "success",
    ("becomes_plain", 0): "success",
    ("becomes_plain", 1): "removed",
}

Key = tuple[str, str, int]
Row = Mapping[str, Any]


class Step(BaseOperator):
    """A task that could be mapped."""

    def __init__(self, *, value: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value


@dataclass(frozen=True)
class Situation:
    """How a run, its task instances and the DAG came to stand before the clear."""

    name: str
    bundle_version: str | None = None
    newer_dag: bool = False
    versionless_run: bool = False
    versionless_tasks: bool = False
    on_latest: bool | None = None


SITUATIONS = [
    Situation("as made"),
    Situation("as made, by bundle version", bundle_version="b1"),
    Situation("newer dag", newer_dag=True),
    Situation("newer dag, run keeps its bundle version", newer_dag=True, bundle_version="b1"),
    Situation("newer dag, run on latest", newer_dag=True, on_latest=True),
    Situation(
        "newer dag, run on latest, by bundle version", newer_dag=True, on_latest=True, bundle_version="b1"
    ),
    Situation("same dag, run on latest", on_latest=True),
    Situation("versionless", versionless_run=True, versionless_tasks=True),
    Situation("versionless, newer dag", newer_dag=True, versionless_run=True, versionless_tasks=True),
    Situation("versionless, newer dag, not on latest", newer_dag=True, versionless_run=True, on_latest=False),
    Situation(
        "versionless run with a bundle version",
        newer_dag=True,
        bundle_version="b1",
        versionless_run=True,
        versionless_tasks=True,
    ),
    Situation("versionless run, task instances with a version", newer_dag=True, versionless_run=True),
    Situation("versionless task instances", versionless_tasks=True),
    Situation(
        "versionless task instances, by bundle version",
        newer_dag=True,
        bundle_version="b1",
        versionless_tasks=True,
    ),
    Situation(
        "versionless task instances, run on latest", newer_dag=True, versionless_tasks=True, on_latest=True
    ),
]


def first_version() -> DAG:
    """Two tasks per state, of them one is gone in the next version, and mapped tasks."""
    with DAG(DAG_ID, schedule=None, start_date=START) as dag:
        for state in STATES:
            Step(task_id=f"stays_{state or 'none'}", retries=RETRIES[state])
            Step(task_id=f"gone_{state or 'none'}", retries=1)
        source = Step(task_id="source")
        Step.partial(task_id="expanded", retries=2).expand(value=source.output)
        Step.partial(task_id="unexpanded", retries=2).expand(value=source.output)
        Step.partial(task_id="shrinks", retries=1).expand(value=[1, 2, 3])
        Step.partial(task_id="grows").expand(value=[1])
        Step(task_id="becomes_mapped")
        Step.partial(task_id="becomes_plain").expand(value=[1, 2])
    return dag


def second_version() -> DAG:
    """The same without the tasks that go, with others, other retries and other mappings."""
    with DAG(DAG_ID, schedule=None, start_date=START) as dag:
        for state in STATES:
            Step(task_id=f"stays_{state or 'none'}", retries=RETRIES[state] + 4)
        Step(task_id="new", retries=2)
        Step.partial(task_id="new_mapped").expand(value=[1, 2])
        # Starts after the runs, so that they have no part in it.
        Step(task_id="new_later", start_date=datetime(2027, 1, 1, tzinfo=timezone.utc))
        source = Step(task_id="source")
        Step.partial(task_id="new_unexpanded").expand(value=Step(task_id="new_source").output)
        Step.partial(task_id="expanded", retries=2).expand(value=source.output)
        Step.partial(task_id="unexpanded", retries=2).expand(value=source.output)
        Step.partial(task_id="shrinks", retries=1).expand(value=[1])
        Step.partial(task_id="grows").expand(value=[1, 2, 3])
        Step.partial(task_id="becomes_mapped").expand(value=[1, 2])
        Step(task_id="becomes_plain")
    return dag


def set_up(situation: Situation, run_state: str, session: Any) -> None:
    """Write the situation, with a second run beside it that no plan of these tests covers."""
    store_dag(first_version(), session=session, bundle_version="b1")
    for run_id, state in (("run", run_state), ("bystander", "failed")):
        run = make_run(
            DAG_ID, session=session, run_id=run_id, state=state, bundle_version=situation.bundle_version
        )
        if situation.bundle_version is None:
            run.bundle_version = None
        _set_states(run, session)
        if situation.versionless_run:
            run.created_dag_version_id = None
        session.commit()
    if situation.newer_dag:
        store_dag(second_version(), session=session, bundle_version="b2", new_version=True)
    if situation.versionless_tasks:
        session.execute(update(TaskInstance).values(dag_version_id=None))
        session.commit()
    session.expire_all()


def _set_states(run: DagRun, session: Any) -> None:
    expand(run, "expanded", 3, session=session)
    by_key = {(ti.task_id, ti.map_index): ti for ti in task_instances(run, session=session)}
    for number, (kind, state) in enumerate(product(("stays", "gone"), STATES)):
        ti = by_key[f"{kind}_{state or 'none'}", -1]
        ti.state = state
        ti.try_number, ti.max_tries = TRIES[number % len(TRIES)]
        ti.start_date = START
    for key, state in OTHER_STATES.items():
        by_key[key].state = state
    session.commit()


# --- Reading, past the ORM and past Safe Clear --------------------------------------------------------------


@dataclass
class Rows:
    """The two tables that a clear is about."""

    task_instances: dict[Key, Row]
    runs: dict[str, Row]


def read(session: Any) -> Rows:
    """Read every column of every task instance and dag run."""
    session.flush()
    ti, dr = TaskInstance.__table__, DagRun.__table__
    return Rows(
        {(row.run_id, row.task_id, row.map_index): row._mapping for row in session.execute(select(ti))},
        {row.run_id: row._mapping for row in session.execute(select(dr))},
    )


@dataclass
class Predicted:
    """The stored plan."""

    run: Row
    rows: dict[Key, Row]

    @property
    def cleared(self) -> dict[Key, Row]:
        """What is handed to Airflow."""
        return {key: row for key, row in self.rows.items() if row["effect"] in ("clear", "terminate")}


def predicted(plan_id: UUID, session: Any, run_id: str = "run") -> Predicted:
    """Read what the stored plan says that the clear itself makes of one run; the scheduler comes later."""
    run = session.execute(
        select(plan_run).where(plan_run.c.plan_id == plan_id, plan_run.c.run_id == run_id)
    ).one()
    planned = plan_task_instance
    by_clear = planned.c.effect.not_in(SCHEDULER_EFFECTS)
    rows = session.execute(
        select(planned).where(planned.c.plan_id == plan_id, planned.c.run_id == run_id, by_clear)
    )
    return Predicted(run._mapping, {(row.run_id, row.task_id, row.map_index): row._mapping for row in rows})


# --- Comparing ----------------------------------------------------------------------------------------------


def differences(
    plan: Predicted, before: Rows, after: Rows, *, reset: bool, others: Collection[str] = ()
) -> Iterator[str]:
    """Say every column that came out otherwise than the plan says, or that it does not speak of.

    ``others`` are runs that are not looked at, because other parts of the plan are about them.
    """
    yield from _run_differences(plan, before, after, reset=reset, others=others)
    for key in sorted(before.task_instances.keys() | after.task_instances.keys() | plan.rows.keys()):
        if key[0] in others:
            continue
        row = after.task_instances.get(key)
        if row is None:
            yield f"{key}: missing"
        elif key in plan.rows and plan.rows[key]["effect"] != "leave_out":
            yield from _planned_differences(key, plan.rows[key], before.task_instances.get(key), row)
        elif key not in before.task_instances:
            yield f"{key}: created, not planned"
        else:
            yield from _untouched_differences(
                key, plan, before.task_instances[key], row, pins=reset and AIRFLOW_33
            )


def _run_differences(
    plan: Predicted, before: Rows, after: Rows, *, reset: bool, others: Collection[str]
) -> Iterator[str]:
    run_id = plan.run["run_id"]
    old, new = before.runs[run_id], after.runs[run_id]
    expected = {
        "state": plan.run["after_state"],
        "created_dag_version_id": plan.run["after_dag_version_id"],
        "bundle_version": plan.run["after_bundle_version"],
        "clear_number": old["clear_number"] + reset,
    }
    for column, value in expected.items():
        if new[column] != value:
            yield f"dag run: {column} planned {value}, became {new[column]}"
    may_move = RUN_COLUMNS_THAT_MOVE if reset else set()
    for column in set(old) - may_move:
        if new[column] != old[column]:
            yield f"dag run: {column} changed from {old[column]} to {new[column]}"
    for name in before.runs.keys() - {run_id, *others}:
        if before.runs[name] != after.runs[name]:
            yield f"dag run {name}: not planned, but changed"


def _planned_differences(key: Key, planned: Row, old: Row | None, new: Row) -> Iterator[str]:
    effect = planned["effect"]
    expected = {
        "state": planned["after_state"],
        "max_tries": planned["after_max_tries"],
        "dag_version_id": planned["after_dag_version_id"],
        "try_number": old["try_number"] if old else 0,
    }
    for column, value in expected.items():
        if new[column] != value:
            yield f"{key} ({effect}): {column} planned {value}, became {new[column]}"
    if (old is None) != (effect == "create"):
        yield f"{key} ({effect}): {'absent' if old is None else 'there'} before"
    if old is None:
        return
    if (planned["task_instance_id"], planned["state"], planned["try_number"]) != (
        old["id"],
        old["state"],
        old["try_number"],
    ):
        yield f"{key} ({effect}): the plan has another before-image than the database"
    if (new["id"] != old["id"]) != (effect in ("clear", "terminate")):
        yield f"{key} ({effect}): id {'kept' if new['id'] == old['id'] else 'changed'}"


def _untouched_differences(key: Key, plan: Predicted, old: Row, new: Row, *, pins: bool) -> Iterator[str]:
    expected = dict(old)
    of_run = key[0] == plan.run["run_id"]
    unfinished = old["state"] is None or old["state"] in State.unfinished
    if pins and of_run and old["dag_version_id"] is None and unfinished:
        # Airflow 3.3 gives the others of a run that it pins the run's version.
        expected["dag_version_id"] = plan.run["after_dag_version_id"]
        expected["updated_at"] = new["updated_at"]
    if key in plan.rows:
        foreseen = plan.rows[key]
        for column in ("state", "max_tries", "dag_version_id"):
            if foreseen[f"after_{column}"] != new[column]:
                yield (
                    f"{key} (left out): {column} planned {foreseen[f'after_{column}']}, became {new[column]}"
                )
    for column, value in expected.items():
        if new[column] != value:
            yield f"{key} (not planned): {column} changed from {value} to {new[column]}"


# --- Clearing -----------------------------------------------------------------------------------------------


def clear_directly(plan: Predicted, session: Any, *, reset: bool, on_latest: bool) -> None:
    """Call Airflow's function on what the plan names, without committing."""
    ids = [row["task_instance_id"] for row in plan.cleared.values()]
    clear_task_instances(
        list(session.scalars(select(TaskInstance).where(TaskInstance.id.in_(ids)))),
        session,
        dag_run_state=DagRunState.QUEUED if reset else False,
        run_on_latest_version=on_latest,
    )
    session.flush()


def cleared_otherwise(plan: PlanSummary, foreseen: Predicted, before: Rows, session: Any) -> list[str]:
    """Clear with Airflow's function, without committing, and return how the result differs from the plan."""
    reset = plan.selection.reset_dag_runs
    clear_directly(foreseen, session, reset=reset, on_latest=plan.run_on_latest_version)
    return list(differences(foreseen, before, read(session), reset=reset))


def check(selection: Selection, session: Any) -> Predicted:
    """Plan, clear directly and roll back, then apply; compare both results with the plan."""
    reset = selection.reset_dag_runs
    before, everything = read(session), snapshot(session)
    session.rollback()
    plan = make_plan(selection, ME, datetime.now(timezone.utc))
    foreseen = predicted(UUID(plan.id), session)
    with_plan = snapshot(session)
    assert diff_snapshots(everything, with_plan).keys() <= {
        "safe_clear_plan",
        "safe_clear_plan_relation",
        "safe_clear_plan_run",
        "safe_clear_plan_task",
        "safe_clear_plan_task_instance",
    }

    assert cleared_otherwise(plan, foreseen, before, session) == []
    assert diff_snapshots(with_plan, snapshot(session)).keys() <= CHANGED_BY_A_CLEAR
    session.rollback()
    session.expunge_all()

    applied = drive(apply_plan(plan, plan.fingerprint, "because", ME, datetime.now(timezone.utc)).id)
    assert applied.stop_reason is None
    assert applied.status == "applied"
    assert list(differences(foreseen, before, read(session), reset=reset)) == []
    assert diff_snapshots(with_plan, snapshot(session)).keys() <= CHANGED_BY_APPLY
    return foreseen
