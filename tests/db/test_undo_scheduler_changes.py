"""Undoing a clear after which the scheduler has created, restored or removed task instances."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import update

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services import receipt
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from tests.db.acting import clear, now, plan_of, reread, step, undo
from tests.db.changed_dags import a_b, dag_of, mapped, of, store_history, task
from tests.db.scheduler_looks import live, look_once_without_starting
from tests.db.undo_oracle import OWN_TABLES
from tests.support.factories import advance, set_states, store_dag
from tests.support.snapshots import diff_snapshots, snapshot

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]


@pytest.fixture
def history(session):
    """Store a DAG with successful runs, then another version of it."""
    return partial(store_history, session)


def everything(session):
    """Return all rows of Airflow's own tables, the time of each row's last change with them."""
    session.rollback()
    found = snapshot(session, exclude_tables=OWN_TABLES | {"log", "job"})
    session.rollback()
    for row in found["dag_run"]:
        row.pop("updated_at")
    return found


def but_updated_at_of(found, *task_ids):
    """Return the same without the time of the last change of what was cleared itself."""
    rows = [
        {**row, "updated_at": None} if row["task_id"] in task_ids else row for row in found["task_instance"]
    ]
    return {**found, "task_instance": rows}


def old_a_b():
    a_b()
    task("old")


def test_a_success_that_the_scheduler_removed_is_as_before_in_every_column(history, session):
    history(old_a_b, a_b)
    before = everything(session)
    plan = clear(of("b"))
    look_once_without_starting(session)
    assert live(session)["run_1", "old", -1].state == "removed"
    foreseen = preview_undo(plan, now())
    assert (foreseen.put_back, foreseen.whole_runs) == (3, 3)
    assert foreseen.taken_back == "3 marked Removed (`old`)"
    done = undo(plan)
    assert (done.put_back, done.stayed) == (3, 0)
    assert diff_snapshots(but_updated_at_of(before, "b"), but_updated_at_of(everything(session), "b")) == {}
    assert receipt.not_taken_back(done, session) == ""


def test_a_task_instance_that_the_scheduler_created_is_deleted(history, session):
    def new():
        a_b()
        task("c")

    history(a_b, new)
    before = everything(session)
    plan = clear(of("b"))
    look_once_without_starting(session)
    assert ("run_1", "c", -1) in live(session)
    assert preview_undo(plan, now()).taken_back == "3 created (`c`)"
    assert undo(plan).put_back == 3
    assert diff_snapshots(but_updated_at_of(before, "b"), but_updated_at_of(everything(session), "b")) == {}


def test_a_task_instance_that_the_scheduler_restored_is_removed_again(history, session):

    for run in history(old_a_b):
        set_states(run, {"old": "removed"}, session=session)
    store_dag(dag_of(old_a_b, description="again"), session=session)
    before = everything(session)
    plan = clear(of("b"))
    look_once_without_starting(session)
    assert live(session)["run_1", "old", -1].state is None
    assert preview_undo(plan, now()).taken_back == "3 restored (`old`)"
    undo(plan)
    assert diff_snapshots(but_updated_at_of(before, "b"), but_updated_at_of(everything(session), "b")) == {}


def test_an_undo_before_the_scheduler_looked_has_nothing_to_take_back(history, session):
    def new():
        a_b()
        task("c")

    history(old_a_b, new)
    before = everything(session)
    plan = clear(of("b"))
    foreseen = preview_undo(plan, now())
    assert (foreseen.whole_runs, foreseen.scheduler_changes) == (3, ())
    undo(plan)
    assert diff_snapshots(but_updated_at_of(before, "b"), but_updated_at_of(everything(session), "b")) == {}


def test_what_is_removed_and_cleared_comes_back_too(history, session):
    history(lambda: mapped("shrink", 3), lambda: mapped("shrink", 2))
    before = everything(session)
    plan = clear(of("shrink"))
    look_once_without_starting(session)
    assert live(session)["run_1", "shrink", 2].state == "removed"
    assert preview_undo(plan, now()).whole_runs == 3
    undo(plan)
    found = everything(session)
    assert diff_snapshots(but_updated_at_of(before, "shrink"), but_updated_at_of(found, "shrink")) == {}


def test_where_the_run_goes_on_the_scheduler_s_changes_stay_and_are_named(history, session):
    def new():
        a_b()
        task("c")

    history(old_a_b, new)
    plan = clear(of("b"))
    look_once_without_starting(session)
    advance("etl", "run_1", "c", "running", session=session)
    foreseen = preview_undo(plan, now())
    assert (foreseen.put_back, foreseen.whole_runs) == (3, 2)
    assert foreseen.not_taken_back == "1 created (`c`), 1 marked Removed (`old`)"
    assert foreseen.taken_back == "2 created (`c`), 2 marked Removed (`old`)"
    done = undo(plan)
    rows = live(session)
    assert (rows["run_1", "c", -1].state, rows["run_1", "old", -1].state) == ("running", "removed")
    assert rows["run_2", "old", -1].state == "success"
    assert receipt.not_taken_back(done, session) == "1 created (`c`), 1 marked Removed (`old`)"


def test_a_plan_drifts_where_the_scheduler_has_done_it_already(history, session):
    history(old_a_b, a_b)
    plan = plan_of(of("b"))
    ti = task_instance
    session.execute(update(ti).where(ti.c.run_id == "run_2", ti.c.task_id == "old").values(state="removed"))
    session.commit()
    with pytest.raises(Refused):
        step(plan)
    stale = reread(plan, session)
    assert stale.status == "stale"
    [moved] = stale.stop_reason.moved
    assert (moved.run_id, moved.task_id) == ("run_2", "old")
    assert live(session)["run_1", "b", -1].state == "success"
