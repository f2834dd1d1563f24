"""Each entry of the tables of cleared columns is needed: without it, one of the checks here fails.

A check says of a column whether Safe Clear predicts, refuses, verifies or restores it, by what happens in the
database. The columns for which it must say so are named here once more, from Airflow's code and not from the
tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from airflow.models.dag_version import DagVersion
from airflow.sdk import DAG
from sqlalchemy import (
    JSON,
    DateTime,
    Enum,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    Uuid,
    cast,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from safe_clear_plugin.airflow_api.clear import cleared_columns
from safe_clear_plugin.airflow_api.clear.cleared_columns import DAG_RUN_KEY, TASK_INSTANCE_KEY
from safe_clear_plugin.airflow_api.clear.column import Undo, present
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.undo import Verdict
from safe_clear_plugin.services.clear.apply import apply_plan
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.storage.clear import drift, verification
from safe_clear_plugin.storage.clear.batches import Batch, RunToClear
from safe_clear_plugin.storage.tables import (
    before_dag_run,
    before_task_instance,
    plan_run,
    plan_task_instance,
)
from safe_clear_plugin.storage.undo import restore
from safe_clear_plugin.storage.undo.verdicts import task_instance_verdicts
from tests.db.clear_contract import ME, Situation, Step, cleared_otherwise, predicted, read, set_up
from tests.support.driving import drive
from tests.support.factories import make_run, store_dag, task_instances

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]

DAG_ID = "columns"
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
TASK_INSTANCE, DAG_RUN = "task_instance", "dag_run"
LIVE: Mapping[str, Table] = {TASK_INSTANCE: task_instance, DAG_RUN: dag_run}
IMAGES: Mapping[str, Table] = {TASK_INSTANCE: before_task_instance, DAG_RUN: before_dag_run}
ENTRIES = {TASK_INSTANCE: "TASK_INSTANCE", DAG_RUN: "DAG_RUN"}
KEYS = {TASK_INSTANCE: set(TASK_INSTANCE_KEY), DAG_RUN: set(DAG_RUN_KEY)}
REFERENCES = {"trigger_id", "backfill_id", "log_template_id"}
"""Columns in which a value must refer to a row that these tests do not have."""

Entry = tuple[str, str]
"""A table and a column of it."""


def entries() -> list[Entry]:
    """Return the entries of both tables that the installed Airflow has."""
    return [
        (table, column.name)
        for table, attribute in ENTRIES.items()
        for column in present(getattr(cleared_columns, attribute), LIVE[table])
    ]


def of(table: str, *names: str) -> set[Entry]:
    """Return entries of a table by name."""
    return {(table, name) for name in names}


@contextmanager
def changed_entry(entry: Entry, **flags: Any) -> Iterator[None]:
    """Change flags of one entry."""
    table, name = entry
    columns = getattr(cleared_columns, ENTRIES[table])
    changed = tuple(replace(one, **flags) if one.name == name else one for one in columns)
    assert changed != columns
    with patch.object(cleared_columns, ENTRIES[table], changed):
        yield


@dataclass(frozen=True)
class Scene:
    """A plan that cleared a finished and a running dag run, and one of a third run, not confirmed yet."""

    session: Any
    cleared: PlanSummary
    ready: PlanSummary
    other_version: UUID

    def other_value(self, entry: Entry, run_id: str) -> Any:
        """Return a value that no row has in the column; a finished run stays finished, a running one not."""
        table, name = entry
        kind = LIVE[table].c[name].type
        run_state = "queued" if run_id == "going" else "failed"
        by_name = {"id": uuid4(), "state": run_state if table == DAG_RUN else "up_for_retry"}
        if name in by_name:
            return by_name[name]
        if isinstance(kind, Enum):
            return kind.enums[-1]
        if isinstance(kind, Uuid) or name.endswith("dag_version_id"):
            return self.other_version
        values = {
            (DateTime,): datetime(2025, 5, 5, tzinfo=timezone.utc),
            (Integer,): 4711,
            (Float,): 47.11,
            (JSON,): {"other": 1},
            (LargeBinary,): {"other": 1},
            (String, Text): "other",
        }
        implementation = getattr(kind, "impl_instance", kind)
        return next(value for kinds, value in values.items() if isinstance(implementation, kinds))

    def write(self, table: Table, name: str, value: Any, run_id: str) -> None:
        """Write a column of a run's rows, without committing."""
        self.session.execute(update(table).where(table.c.run_id == run_id).values({name: value}))

    def rewritten(self, entry: Entry, run_id: str, *, image: bool = False) -> None:
        """Write another value into a column, of the live row or of its before-image."""
        table, name = entry
        self.write((IMAGES if image else LIVE)[table], name, self.other_value(entry, run_id), run_id)


@pytest.fixture
def scene(session):
    for retries in (1, 2):
        with DAG(DAG_ID, schedule=None, start_date=START) as dag:
            Step(task_id="only", retries=retries)
        store_dag(dag, session=session, new_version=retries == 2)
        if retries == 2:
            continue
        for run_id, state in (("done", "success"), ("going", "running"), ("ready", "success")):
            run = make_run(DAG_ID, session=session, run_id=run_id, state=state)
            run.bundle_version = None
            for ti in task_instances(run, session=session):
                ti.state, ti.try_number = "failed", 1
    session.commit()
    first, second = session.scalars(select(DagVersion.id).order_by(DagVersion.version_number))
    assert first != second
    choice = {"run_on_latest_version": False}
    plan = make_plan(Selection(DAG_ID, run_id=("done", "going"), **choice), ME, datetime.now(timezone.utc))
    cleared = drive(apply_plan(plan, plan.fingerprint, "", ME, datetime.now(timezone.utc)).id)
    assert (cleared.status, cleared.stop_reason) == ("applied", None)
    ready = make_plan(Selection(DAG_ID, run_id=("ready",), **choice), ME, datetime.now(timezone.utc))
    session.rollback()
    return Scene(session, cleared, ready, second)


@pytest.fixture
def restored(scene):
    """The scene after an undo, so that rows are as their before-images say."""
    plan_id, session = UUID(scene.cleared.id), scene.session
    session.execute(update(plan_run).where(plan_run.c.plan_id == plan_id).values(put_back=True))
    back = plan_task_instance.c.plan_id == plan_id
    session.execute(update(plan_task_instance).where(back).values(undo=Verdict.PUT_BACK.value))
    undo(scene)
    assert restore.differences(plan_id, DAG_ID, ["done", "going"], session) == []
    session.commit()
    return scene


def undo(scene: Scene) -> None:
    """Restore what the stored verdicts say."""
    for step in (restore.restore_task_instances, restore.restore_runs):
        step(UUID(scene.cleared.id), DAG_ID, ["done", "going"], scene.session)


# --- The checks ---------------------------------------------------------------------------------------------


def refuses_drift(scene: Scene, entry: Entry) -> bool:
    """Whether a plan is refused once the column has another value than in its preview."""
    if entry[1] in REFERENCES:
        return False
    scene.rewritten(entry, "ready")
    found, _ = drift.find_drift(scene.ready, scene.session)
    return entry[0] in {row.what for row in found}


def verifies(scene: Scene, entry: Entry) -> bool:
    """Whether a clear is rolled back that leaves another value in the column than planned."""
    table, name = entry
    if name in REFERENCES:
        return False
    if entry == (TASK_INSTANCE, "id"):
        planned = plan_task_instance.c
        old = select(planned.task_instance_id).where(
            planned.plan_id == UUID(scene.cleared.id), planned.run_id == "done"
        )
        scene.write(task_instance, "id", scene.session.scalar(old), "done")
    else:
        scene.rewritten(entry, "done")
    return as_planned(scene)[table] == 1


def as_planned(scene: Scene) -> dict[str, int]:
    """Count the rows of the two cleared runs that are as planned."""
    runs = [RunToClear(run_id, 0, START, 1, False) for run_id in ("done", "going")]
    batch = Batch(1, runs, last=True, counts={})
    return {
        TASK_INSTANCE: verification.record_new_ids(scene.cleared, batch.run_ids, scene.session),
        DAG_RUN: verification.record_cleared_runs(scene.cleared, batch, START, scene.session, size=None),
    }


def shows_a_start(scene: Scene, entry: Entry) -> bool:
    """Whether an undo takes a task instance for started if the column has changed since the clear."""
    if entry[0] == DAG_RUN or entry[1] in REFERENCES:
        return False
    scene.rewritten(entry, "done")
    found = task_instance_verdicts(UUID(scene.cleared.id), DAG_ID, ["done"])
    return scene.session.scalar(select(found.c.verdict)) == Verdict.STARTED


def is_restored(scene: Scene, entry: Entry, run_id: str = "done") -> bool:
    """Whether an undo writes the column's value from before the clear."""
    table, name = entry
    scene.rewritten(entry, run_id, image=True)
    live, image = LIVE[table], IMAGES[table]
    try:
        undo(scene)
    except IntegrityError:
        return True
    same = cast(live.c[name], Text).is_not_distinct_from(cast(image.c[name], Text))
    rows = live.c.run_id == image.c.run_id, live.c.run_id == run_id
    return bool(scene.session.scalar(select(same).where(*rows)))


def is_restored_in_a_running_run(scene: Scene, entry: Entry) -> bool:
    """The same, of a dag run that had not finished before the clear."""
    return is_restored(scene, entry, "going")


def loses_its_value_in_a_run_that_goes_on(scene: Scene, entry: Entry) -> bool:
    """Whether an undo empties a column that was empty before the clear, in a run that is not undone."""
    table, name = entry
    if table == DAG_RUN or not before_task_instance.c[name].nullable or not task_instance.c[name].nullable:
        return False
    if name not in REFERENCES:
        scene.rewritten(entry, "done")
    scene.write(before_task_instance, name, None, "done")
    scene.write(before_dag_run, "clear_number", 7, "done")
    scene.write(plan_run, "put_back", False, "done")
    undo(scene)
    of_run = task_instance.c.run_id == "done"
    return scene.session.scalar(select(cast(task_instance.c[name], Text)).where(of_run)) is None


def is_compared_after_an_undo(scene: Scene, entry: Entry, run_id: str = "done") -> bool:
    """Whether an undo is rolled back that leaves another value in the column than before the clear."""
    scene.rewritten(entry, run_id, image=True)
    return restore.differences(UUID(scene.cleared.id), DAG_ID, ["done", "going"], scene.session) != []


KEPT = of(TASK_INSTANCE, "trigger_id", "updated_at") | of(
    DAG_RUN, "backfill_id", "log_template_id", "updated_at"
)
WRITTEN_TO_RUNNING_RUNS = of(
    DAG_RUN, "clear_number", "queued_at", "context_carrier", "created_dag_version_id", "bundle_version"
)


@dataclass(frozen=True)
class Check:
    """A function from above, the columns for which it is true, and a change that makes it false."""

    shows: Callable[[Scene, Entry], bool]
    columns: Callable[[], set[Entry]]
    without: Mapping[str, Any]
    scene: str = "scene"

    def found(self, scene: Scene, entry: Entry) -> bool:
        """Ask of one column, and leave the database as it was."""
        try:
            return self.shows(scene, entry)
        finally:
            scene.session.rollback()


CHECKS = {
    "drift": Check(
        refuses_drift,
        lambda: {
            *of(TASK_INSTANCE, "id", "state", "try_number", "dag_version_id"),
            *of(DAG_RUN, "clear_number", "state", "created_dag_version_id", "bundle_version"),
        },
        {"drift": None},
    ),
    "verification": Check(
        verifies,
        lambda: {
            *of(TASK_INSTANCE, "id", "state", "try_number", "max_tries", "dag_version_id"),
            *of(DAG_RUN, "clear_number", "state", "created_dag_version_id", "bundle_version"),
        },
        {"verify": False},
    ),
    "start": Check(
        shows_a_start,
        lambda: of(TASK_INSTANCE, "start_date", "queued_dttm", "next_method", "external_executor_id"),
        {"until_started": None},
    ),
    "undo": Check(is_restored, lambda: set(entries()) - KEPT, {"undo": Undo.KEEP}, "restored"),
    "undo of a running run": Check(
        is_restored_in_a_running_run,
        lambda: WRITTEN_TO_RUNNING_RUNS | {entry for entry in entries() if entry[0] == TASK_INSTANCE} - KEPT,
        {"undo": Undo.KEEP},
        "restored",
    ),
    "comparison after an undo": Check(
        is_compared_after_an_undo,
        lambda: {
            *of(TASK_INSTANCE, "id", "state", "try_number", "max_tries", "start_date", "end_date"),
            *of(TASK_INSTANCE, "queued_dttm", "next_method"),
            *of(DAG_RUN, "clear_number", "queued_at", "created_dag_version_id", "bundle_version"),
            *of(DAG_RUN, "state", "end_date"),
        },
        {"verify_undo": False},
        "restored",
    ),
}
"""Of a state that changes, the scheduler's own rules tell whether it shows a start: no entry is needed."""


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_is_true_of_its_columns_and_false_without_their_entries(request, name):
    check = CHECKS[name]
    scene = request.getfixturevalue(check.scene)
    skipped = of(TASK_INSTANCE, "state") if name == "start" else set()
    found = {entry for entry in entries() if check.found(scene, entry)} - skipped
    assert found == check.columns()
    for entry in found:
        with changed_entry(entry, **check.without):
            assert not check.found(scene, entry), f"{name} does not need the entry of {entry}"


def test_a_kept_column_is_restored_without_its_entry(restored):
    check = CHECKS["undo"]
    for entry in KEPT:
        with changed_entry(entry, undo=Undo.RESTORE):
            assert check.found(restored, entry), entry


def test_columns_of_a_running_run_are_left_to_the_scheduler(restored):
    check = CHECKS["undo of a running run"]
    left = {entry for entry in entries() if entry[0] == DAG_RUN} - WRITTEN_TO_RUNNING_RUNS - KEPT
    for entry in left:
        with changed_entry(entry, undo=Undo.RESTORE):
            assert check.found(restored, entry), entry


def test_a_task_instance_keeps_a_dag_version_in_a_run_that_goes_on(restored):
    check = Check(loses_its_value_in_a_run_that_goes_on, set, {})
    entry = (TASK_INSTANCE, "dag_version_id")
    assert not check.found(restored, entry)
    with changed_entry(entry, undo=Undo.RESTORE):
        assert check.found(restored, entry)


@pytest.mark.parametrize(
    ("entry", "flags"),
    [
        ((TASK_INSTANCE, "id"), {"is_new": False}),
        ((DAG_RUN, "clear_number"), {"after": None}),
    ],
)
def test_a_wrong_expectation_lets_no_clear_through(scene, entry, flags):
    assert as_planned(scene) == {TASK_INSTANCE: 2, DAG_RUN: 2}
    scene.session.rollback()
    with changed_entry(entry, **flags):
        assert as_planned(scene)[entry[0]] == 0


def test_a_column_without_its_prediction_contradicts_airflow(session):
    situation = Situation("", newer_dag=True, on_latest=True, bundle_version="b1")
    set_up(situation, "success", session)
    selection = Selection("contract", run_id=("run",), running="terminate", run_on_latest_version=True)
    before = read(session)
    session.rollback()

    def contradicted() -> set[str]:
        plan = make_plan(selection, ME, datetime.now(timezone.utc))
        found = cleared_otherwise(plan, predicted(UUID(plan.id), session), before, session)
        session.rollback()
        session.expunge_all()
        return {line.split(" planned ")[0].split(": ")[-1] for line in found}

    assert contradicted() == set()
    predictions = {
        *of(TASK_INSTANCE, "state", "max_tries", "dag_version_id"),
        *of(DAG_RUN, "state", "created_dag_version_id", "bundle_version"),
    }
    for entry in predictions:
        with changed_entry(entry, predict=None):
            assert entry[1] in contradicted()


def test_every_column_of_airflow_has_an_entry():
    for table, attribute in ENTRIES.items():
        names = [column.name for column in getattr(cleared_columns, attribute)]
        assert len(names) == len(set(names))
        assert {name for one, name in entries() if one == table} == set(LIVE[table].c.keys()) - KEYS[table]
