"""What a plan predicts is what Airflow's ``clear_task_instances`` does, column for column.

Each situation is planned, then cleared twice: by Airflow's function called directly, in a transaction that is
rolled back, and by ``apply_plan``. Both results are read with SQL of this file's own, so that a mistake in
Safe Clear's own verification cannot hide one in its prediction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from airflow.models import taskinstance as airflow_taskinstance
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.sdk import DAG, BaseOperator
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunType
from sqlalchemy import select, update

from safe_clear_plugin.airflow_api.clear.audit_log import Actor
from safe_clear_plugin.core import states
from safe_clear_plugin.core.selection import RUN_TYPES, Selection
from safe_clear_plugin.services.clear.apply import apply_plan
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.storage.tables import metadata, plan_run, plan_task_instance
from tests.support import options
from tests.support.factories import expand, make_run, store_dag, task_instances
from tests.support.snapshots import diff_snapshots, snapshot

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]

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
    """Two tasks per state, one of which will go, and mapped ones."""
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
    """Read what the stored plan says of one run."""
    run = session.execute(
        select(plan_run).where(plan_run.c.plan_id == plan_id, plan_run.c.run_id == run_id)
    ).one()
    planned = plan_task_instance
    rows = session.execute(select(planned).where(planned.c.plan_id == plan_id, planned.c.run_id == run_id))
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

    clear_directly(foreseen, session, reset=reset, on_latest=plan.run_on_latest_version)
    assert list(differences(foreseen, before, read(session), reset=reset)) == []
    assert diff_snapshots(with_plan, snapshot(session)).keys() <= CHANGED_BY_A_CLEAR
    session.rollback()
    session.expunge_all()

    applied = apply_plan(plan, plan.fingerprint, "because", ME, datetime.now(timezone.utc))
    assert applied.problem is None
    assert applied.status == "applied"
    assert list(differences(foreseen, before, read(session), reset=reset)) == []
    assert diff_snapshots(with_plan, snapshot(session)).keys() <= CHANGED_BY_APPLY
    return foreseen


PARTS: dict[str, dict[str, Any]] = {
    "whole run": {},
    "run kept": {"reset_dag_runs": False},
    "some tasks": {"task_regex": "^(stays_|gone_[n-z]|shrinks|source)"},
    "running left out": {"running": "leave_out"},
}


def cases() -> Iterator[Any]:
    """Yield every situation with every part and, in turn, every state of the run.

    As there are as many parts as states, each two of the three meet; all three do with ``--full``. What
    PostgreSQL or Airflow 3.2 could do otherwise shows in each situation alike, so there it is one of each.
    """
    for (row, situation), (column, part), run_state in product(
        enumerate(SITUATIONS), enumerate(PARTS), RUN_STATES
    ):
        in_turn = run_state == RUN_STATES[(row + column) % len(RUN_STATES)]
        one_of_each = column == row // len(RUN_STATES) % len(PARTS)
        briefly = options.chosen.postgresql or options.AIRFLOW_32
        if options.chosen.full or (in_turn and (one_of_each or not briefly)):
            yield pytest.param(situation, part, run_state, id=f"{situation.name}-{part}-{run_state} run")


@pytest.mark.parametrize(("situation", "part", "run_state"), list(cases()))
def test_prediction_is_the_result(session, situation, part, run_state):
    set_up(situation, run_state, session)
    choice = {"running": "terminate", "run_on_latest_version": situation.on_latest, **PARTS[part]}
    foreseen = check(Selection(DAG_ID, run_id=("run",), **choice), session)
    assert {row["state"] for row in foreseen.cleared.values()} >= set(STATES) - {"running", "restarting"}


@pytest.mark.usefixtures("speedups")
@pytest.mark.parametrize("try_number", [0, 1, 2, 5])
def test_max_tries_follow_the_tries_made_and_the_retries(session, try_number):
    by_name = {"none": None, "running": "running", "success": "success", "up_for_retry": "up_for_retry"}
    with DAG(DAG_ID, schedule=None, start_date=START) as dag:
        for state, retries, max_tries in product(by_name, (0, 1, 3), (0, 1, 4)):
            Step(task_id=f"{state}.{retries}.{max_tries}", retries=retries)
    store_dag(dag, session=session)
    for run_id in ("run", "bystander"):
        run = make_run(DAG_ID, session=session, run_id=run_id)
        for ti in task_instances(run, session=session):
            state, _, max_tries = ti.task_id.split(".")
            ti.state, ti.try_number, ti.max_tries = by_name[state], try_number, int(max_tries)
            ti.start_date = START
    session.commit()
    foreseen = check(Selection(DAG_ID, run_id=("run",), running="terminate"), session)
    assert len(foreseen.cleared) == 36


def moved_rows(plan: Predicted) -> dict[tuple[str, int], str]:
    """Return what the run's move to the latest version does to task instances that are not cleared."""
    return {
        key[1:]: row["effect"]
        for key, row in plan.rows.items()
        if row["effect"] not in ("clear", "terminate")
    }


@pytest.mark.usefixtures("speedups")
def test_a_move_to_the_latest_version_creates_and_removes(session):
    set_up(Situation("newer dag, run on latest", newer_dag=True, on_latest=True), "success", session)
    selection = Selection(DAG_ID, run_id=("run",), task_regex="^source$", run_on_latest_version=True)
    moved = moved_rows(check(selection, session))
    assert {key: effect for key, effect in moved.items() if effect == "create"} == {
        ("new", -1): "create",
        ("new_mapped", 0): "create",
        ("new_mapped", 1): "create",
        ("new_source", -1): "create",
        ("new_unexpanded", -1): "create",
    }
    assert moved["gone_success", -1] == "remove"
    assert moved["shrinks", 1] == "remove"
    assert moved["becomes_mapped", -1] == "remove"
    assert moved["stays_removed", -1] == "restore"


@pytest.mark.usefixtures("speedups")
def test_a_run_that_goes_on_creates_and_removes_nothing(session):
    set_up(Situation("newer dag, run on latest", newer_dag=True, on_latest=True), "running", session)
    selection = Selection(DAG_ID, run_id=("run",), task_regex="^source$", run_on_latest_version=True)
    assert moved_rows(check(selection, session)) == {}


@pytest.mark.usefixtures("speedups")
@pytest.mark.parametrize("running", ["terminate", "leave_out"])
def test_several_runs_of_several_kinds(session, running):
    set_up(Situation("newer dag", newer_dag=True), "success", session)
    versionless = make_run(
        DAG_ID, session=session, run_id="versionless", state="failed", without_version=True
    )
    latest = make_run(DAG_ID, session=session, run_id="latest", state="queued", bundle_version="b2")
    for run in (versionless, latest):
        for ti, state in zip(task_instances(run, session=session), STATES * 10, strict=False):
            ti.state, ti.try_number = state, 1
    session.commit()
    before, everything = read(session), snapshot(session)
    session.rollback()
    selection = Selection(DAG_ID, date_from=START, running=running)
    plan = make_plan(selection, ME, datetime.now(timezone.utc))
    session.rollback()
    applied = apply_plan(plan, plan.fingerprint, "", ME, datetime.now(timezone.utc))
    assert (applied.status, applied.problem) == ("applied", None)
    after = read(session)
    found = diff_snapshots(everything, snapshot(session))
    assert found.keys() <= CHANGED_BY_APPLY
    assert {run_id: run["clear_number"] for run_id, run in after.runs.items()} == dict.fromkeys(
        before.runs, 1
    )
    for run_id in before.runs:
        one = predicted(UUID(plan.id), session, run_id)
        rest = before.runs.keys() - {run_id}
        assert list(differences(one, before, after, reset=True, others=rest)) == []


# --- Constants ----------------------------------------------------------------------------------------------


def test_constants_name_every_state_and_type_of_airflow():
    assert set(states.TASK_INSTANCE_STATES) >= {states.NO_STATE, *TaskInstanceState}
    assert set(states.RUN_STATES) == set(DagRunState)
    assert set(RUN_TYPES) >= set(DagRunType)
    assert set(states.FINISHED_RUN_STATES) == set(State.finished_dr_states)
    assert set(states.DONE_STATES) == set(State.finished)
    assert set(states.RUNNING_STATES) == {TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING}
