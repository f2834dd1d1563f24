"""What the scheduler makes of runs whose DAG has changed: foreseen by the plan, then done by Airflow."""

from __future__ import annotations

from functools import partial

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskmap import TaskMap
from sqlalchemy import delete, select, update

from safe_clear_plugin.airflow_api.dag.dag_versions import latest_version_id
from safe_clear_plugin.core.selection import Selection
from tests.db.acting import clear, plan_of
from tests.db.changed_dags import RUNS, a_b, dag_of, mapped, of, over, store_history, task
from tests.db.finding_scenes import findings_by_code
from tests.db.scheduler_looks import (
    CREATES,
    REMOVES,
    RESTORES,
    by_scheduler,
    came,
    live,
    look,
    planned,
    states,
)
from tests.support.factories import set_states, store_dag
from tests.support.scenes import START

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]


@pytest.fixture
def history(session):
    """Store a DAG with successful runs, then another version of it."""
    return partial(store_history, session)


def foreseen_and_came(selection, session, rounds=8):
    """Plan, clear, and have the scheduler look until nothing moves: return what was foreseen and what came.

    What the plan says of each row is held against the rows that there are then.
    """
    before = live(session)
    plan = plan_of(selection)
    foreseen = by_scheduler(plan, session)
    rows = planned(plan, session)
    clear(plan)
    cleared = live(session)
    look(rounds=rounds)
    now = live(session)
    for key, row in rows.items():
        if row.outcome == "removed":
            assert now[key].state == "removed", key
        if row.outcome == "runs" and rounds > 1:
            assert now[key].state == "success", key
    untouched = before.keys() - rows.keys()
    assert {key: now[key].state for key in untouched} == {key: before[key].state for key in untouched}
    assert came(before, cleared, now) == foreseen
    created = {key for key, effect in foreseen.items() if effect == CREATES}
    assert now.keys() - before.keys() == created | {
        key for key, row in rows.items() if row.effect == "create"
    }
    return plan, foreseen


def in_all(*keys, effect, runs=RUNS):
    """Return one effect for the same task instances of all runs."""
    return {(run_id, task_id, index): effect for run_id in runs for task_id, index in keys}


def test_a_new_leaf_and_a_new_root_are_created(history, session):
    def new():
        a = task("a")
        task("c", task("b", a))
        task("d")

    history(a_b, new)
    plan, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == in_all(("c", -1), ("d", -1), effect=CREATES)
    assert plan.task_instances == 3
    assert plan.outcomes["runs"] == 9


@pytest.mark.one_database
def test_a_dropped_success_is_removed(history, session):
    def old():
        task("b", task("a"))
        task("old")

    history(old, a_b)
    _, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == in_all(("old", -1), effect=REMOVES)


@pytest.mark.one_database
def test_a_cleared_task_that_was_dropped_is_removed(history, session):
    def old():
        task("b", task("a"))
        task("old")

    history(old, a_b)
    selection = Selection("etl", date_from=START, date_to=None)
    plan, foreseen = foreseen_and_came(selection, session)
    assert foreseen == {}
    assert plan.outcomes["removed"] == 3
    rows = planned(plan, session)
    assert rows["run_1", "old", -1].outcome_reason == "task_gone"


@pytest.mark.one_database
def test_a_mapping_that_grows_creates_the_new_indexes(history, session):
    history(lambda: mapped("grow", 3), lambda: mapped("grow", 5))
    _, foreseen = foreseen_and_came(of("grow"), session)
    assert foreseen == in_all(("grow", 3), ("grow", 4), effect=CREATES)


def test_a_map_index_that_a_run_of_the_latest_version_lacks_is_created(history, session):
    history(lambda: task("after", mapped("grow", 3)))
    lost = (TaskInstance.run_id == "run_1", TaskInstance.task_id == "grow", TaskInstance.map_index == 0)
    session.execute(delete(TaskInstance).where(*lost))
    session.commit()
    _, foreseen = foreseen_and_came(of("grow"), session)
    assert foreseen == {("run_1", "grow", 0): CREATES}


def test_a_mapping_of_a_run_that_has_the_latest_version_already_grows_and_shrinks(history, session):
    """``other`` was cleared after the DAG had changed, so that the run is not compared again."""

    def build(grow, shrink):
        mapped("grow", grow)
        mapped("shrink", shrink)
        task("other")

    history(lambda: build(1, 3), lambda: build(2, 2), runs=("run_1",))
    latest = latest_version_id("etl", session)
    changed = (TaskInstance.run_id == "run_1", TaskInstance.task_id == "other")
    session.execute(update(TaskInstance).where(*changed).values(dag_version_id=latest))
    session.commit()
    _, foreseen = foreseen_and_came(of("grow", "shrink"), session)
    assert foreseen == {("run_1", "grow", 1): CREATES}


def test_a_mapping_that_is_skipped_later_is_not_expanded(history, session):
    """It is skipped as soon as the upstream task instances have succeeded."""
    one_failed = {"trigger_rule": "one_failed"}
    history(
        lambda: mapped("grow", 1, task("before"), **one_failed),
        lambda: mapped("grow", 3, task("before"), **one_failed),
    )
    plan, foreseen = foreseen_and_came(of("before", "grow"), session)
    assert foreseen == {}
    assert {row.outcome for key, row in planned(plan, session).items() if key[1] == "grow"} == {"skipped"}


@pytest.mark.one_database
def test_a_mapping_that_grows_and_is_not_cleared_stays(history, session):
    def old():
        mapped("grow", 3)
        task("b")

    def new():
        mapped("grow", 5)
        task("b")

    history(old, new)
    _, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == {}


@pytest.mark.one_database
def test_a_mapping_that_shrinks_removes_map_indexes_also_outside_the_plan(history, session):
    def old():
        mapped("shrink", 5)
        task("b")

    def new():
        mapped("shrink", 3)
        task("b")

    history(old, new)
    _, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == in_all(("shrink", 3), ("shrink", 4), effect=REMOVES)


@pytest.mark.one_database
def test_a_cleared_mapping_that_shrinks_does_not_run_what_is_gone(history, session):
    history(lambda: mapped("shrink", 5), lambda: mapped("shrink", 3))
    plan, foreseen = foreseen_and_came(of("shrink"), session)
    assert foreseen == {}
    assert (plan.outcomes["runs"], plan.outcomes["removed"]) == (9, 6)
    assert planned(plan, session)["run_1", "shrink", 4].outcome_reason == "map_index_gone"


@pytest.mark.one_database
def test_a_task_that_becomes_mapped_is_removed_and_never_runs(history, session):
    history(lambda: task("plain"), lambda: mapped("plain", 3))
    plan, foreseen = foreseen_and_came(of("plain"), session)
    assert foreseen == {}
    assert plan.outcomes["removed"] == 3
    assert planned(plan, session)["run_1", "plain", -1].foreseen_state == "removed"


@pytest.mark.one_database
def test_a_removed_task_that_is_back_is_restored(history, session):
    def old():
        task("b", task("a"))
        task("back")

    made = history(old)
    for run in made:
        set_states(run, {"back": "removed"}, session=session)
    store_dag(dag_of(old, description="again"), session=session)
    _, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == in_all(("back", -1), effect=RESTORES)


@pytest.mark.one_database
def test_a_task_with_a_later_start_date_is_not_created(history, session):
    def new():
        a_b()
        task("late", start_date=START.replace(day=2))

    history(a_b, new)
    _, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == in_all(("late", -1), effect=CREATES, runs=("run_2", "run_3"))


def test_a_task_with_an_end_date_is_not_created_after_it(history, session):
    def new():
        a_b()
        task("early", end_date=START.replace(day=2))

    history(a_b, new)
    _, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == in_all(("early", -1), effect=CREATES, runs=("run_1", "run_2"))


@pytest.mark.one_database
def test_a_version_that_differs_in_its_docs_does_nothing(history, session):
    history(a_b, a_b, doc_md="other words")
    plan, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == {}
    assert "scheduler_changes" not in findings_by_code(plan)


def test_a_run_of_a_bundle_version_stays_as_it_is(history, session):
    def new():
        a_b()
        task("d")

    history(a_b, new, bundle_version="abc")
    plan = plan_of(of("b"))
    assert by_scheduler(plan, session) == {}


@pytest.mark.one_database
def test_a_run_whose_history_has_the_latest_version_is_not_verified(history, session):
    def new():
        a_b()
        task("d")

    history(a_b, new)
    [ti, *_] = session.scalars(select(TaskInstance).where(TaskInstance.run_id == "run_1")).all()
    earlier = TaskInstanceHistory(ti, state="failed")
    earlier.try_number = 9
    earlier.dag_version_id = latest_version_id("etl", session)
    session.add(earlier)
    session.commit()
    _, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == in_all(("d", -1), effect=CREATES, runs=("run_2", "run_3"))


@pytest.mark.one_database
def test_a_run_with_a_task_instance_of_the_latest_version_is_not_verified(history, session):
    def new():
        a_b()
        task("d")

    history(a_b, new)
    latest = latest_version_id("etl", session)
    session.execute(update(TaskInstance).where(TaskInstance.run_id == "run_1").values(dag_version_id=latest))
    session.commit()
    _, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == in_all(("d", -1), effect=CREATES, runs=("run_2", "run_3"))


@pytest.mark.one_database
def test_a_running_run_is_verified_too(history, session):
    def new():
        a_b()
        task("d")

    history(a_b, new, run_state="running")
    _, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == in_all(("d", -1), effect=CREATES)


def test_a_running_run_that_moves_only_loses_tasks(history, session):
    def old():
        task("b", task("a"))
        task("old")

    def new():
        a_b()
        task("d")

    history(old, new, run_state="running")
    _, foreseen = foreseen_and_came(of("b", run_on_latest_version=True), session)
    assert foreseen == in_all(("old", -1), effect=REMOVES)


def test_a_finished_run_that_moves_is_changed_by_the_clear(history, session):
    def old():
        task("b", task("a"))
        task("old")

    def new():
        a_b()
        task("d")

    history(old, new)
    plan, foreseen = foreseen_and_came(of("b", run_on_latest_version=True), session)
    assert foreseen == {}
    assert "moves_to_latest" in findings_by_code(plan)


@pytest.mark.one_database
def test_a_mapping_of_a_finished_run_that_moves_grows_later(history, session):
    history(lambda: mapped("grow", 3), lambda: mapped("grow", 5))
    _, foreseen = foreseen_and_came(of("grow", run_on_latest_version=True), session)
    assert foreseen == in_all(("grow", 3), ("grow", 4), effect=CREATES)


def test_a_mapping_of_a_running_run_that_moves_shrinks_and_grows(history, session):
    def old():
        mapped("grow", 2)
        mapped("shrink", 3)

    def new():
        mapped("grow", 3)
        mapped("shrink", 2)

    history(old, new, run_state="running")
    _, foreseen = foreseen_and_came(of("grow", "shrink", run_on_latest_version=True), session)
    assert foreseen == in_all(("grow", 2), effect=CREATES)


def test_runs_that_are_not_queued_again_are_left_alone(history, session):
    def new():
        a_b()
        task("d")

    history(a_b, new)
    plan = plan_of(of("b", reset_dag_runs=False))
    assert by_scheduler(plan, session) == {}


def returned(session, lengths):
    """Leave what a task has returned in each run."""
    for run_id, length in lengths.items():
        keys = {"dag_id": "etl", "run_id": run_id, "task_id": "source", "map_index": -1}
        session.merge(TaskMap(**keys, length=length, keys=None))
    session.commit()


def test_a_new_mapping_over_results_has_as_many_as_these(history, session):
    def new():
        a_b()
        over("each", task("source"))

    def old():
        a_b()
        task("source")

    history(old, new)
    returned(session, {"run_1": 2, "run_2": 1})
    _, foreseen = foreseen_and_came(of("b"), session, rounds=1)
    assert foreseen == {
        ("run_1", "each", 0): CREATES,
        ("run_1", "each", 1): CREATES,
        ("run_2", "each", 0): CREATES,
        ("run_3", "each", -1): CREATES,
    }


def test_a_new_task_between_two_decides_what_becomes_of_the_second(history, session):
    def new():
        a = task("a")
        task("b", task("between", a, trigger_rule="one_failed"))

    history(a_b, new)
    plan, foreseen = foreseen_and_came(of("b"), session)
    assert foreseen == in_all(("between", -1), effect=CREATES)
    rows = planned(plan, session)
    assert (rows["run_1", "between", -1].outcome, rows["run_1", "b", -1].outcome) == ("skipped", "skipped")
    assert states(session)["run_1", "b", -1] == "skipped"


@pytest.mark.one_database
def test_a_mapping_that_grows_and_is_skipped_is_not_expanded(history, session):
    def old():
        mapped("grow", 2, task("a"))

    def new():
        mapped("grow", 3, task("a"))

    for run in history(old, new):
        set_states(run, {"a": "skipped"}, session=session)
    plan, foreseen = foreseen_and_came(of("grow"), session)
    assert foreseen == {}
    assert plan.outcomes["skipped"] == 6


def test_the_changes_of_the_scheduler_are_to_be_acknowledged(history, session):
    def old():
        task("b", task("a"))
        task("old")

    def new():
        a_b()
        task("c")

    history(old, new)
    finding = findings_by_code(plan_of(of("b")))["scheduler_changes"]
    assert (finding.level, finding.count) == ("acknowledge", 6)
    assert finding.title == (
        "6 more task instances will change when the scheduler looks at the runs: "
        "3 created (`c` in 3 runs), 3 marked Removed (`old` in 3 runs)"
    )
    # The remedy that it offers.
    moved, foreseen = foreseen_and_came(of("b", run_on_latest_version=True), session)
    assert foreseen == {}
    assert "scheduler_changes" not in findings_by_code(moved)


@pytest.mark.one_database
def test_a_failure_that_is_removed_is_a_warning(history, session):
    def old():
        task("b", task("a"))
        task("old")

    for run in history(old, a_b):
        set_states(run, {"old": "failed"}, session=session)
    assert findings_by_code(plan_of(of("b")))["scheduler_changes"].level == "warn"


def test_what_is_created_is_counted_in_the_estimate(history, session):
    def new():
        a_b()
        task("d", pool="small")

    history(a_b, new)
    assert "pool_blocks" in findings_by_code(plan_of(of("b")))
