"""Clear and undo of every kind of row that a metadata DB may hold, one by one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.api.common.delete_dag import delete_dag
from airflow.models import taskinstance as airflow_taskinstance
from airflow.models.backfill import Backfill, BackfillDagRun
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun, DagRunNote
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance, TaskInstanceNote
from airflow.models.trigger import Trigger
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseOperator
from sqlalchemy import delete, func, select, update

from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.undo import VERDICT_TEXT, Verdict
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from tests.db.acting import Clear, clear, days, now, plan_of, step, undo
from tests.db.undo_oracle import everything
from tests.support.factories import (
    advance,
    expand,
    hitl_detail,
    leave_trail,
    make_run,
    set_states,
    store_dag,
    task_instances,
)
from tests.support.scenes import START, store_etl
from tests.support.snapshots import diff_snapshots

pytestmark = [pytest.mark.backend, pytest.mark.driver, pytest.mark.airflow32]

AIRFLOW_33 = hasattr(airflow_taskinstance, "_pin_versionless_tis_to_run_version")


class Step(BaseOperator):
    """A task that could be mapped."""

    def __init__(self, *, value=None, **kwargs):
        super().__init__(**kwargs)
        self.value = value


def mapped_dag():
    with DAG("etl", schedule=None, start_date=START) as dag:
        source = Step(task_id="source")
        each = Step.partial(task_id="each", retries=1).expand(value=source.output)
        Step.partial(task_id="literal").expand(value=[1, 2])
        each >> Step(task_id="last")
    return dag


@pytest.fixture
def dag(session):
    return store_etl(session, runs=2)


@pytest.fixture
def live(dag, session):
    """A running run of the DAG, of which nothing has started."""
    return make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")


@pytest.fixture
def mapped(session):
    """A running run with an expanded, and one with an unexpanded mapped task."""
    store_dag(mapped_dag(), session=session)
    expanded, unexpanded = (
        make_run("etl", session=session, run_id=f"run_{day}", logical_date=START.replace(day=day))
        for day in (1, 2)
    )
    set_states(expanded, {"source": "success"}, session=session)
    expand(expanded, "each", 3, session=session)
    states = {("each", 0): "success", ("each", 1): "failed", ("each", 2): "up_for_retry"}
    set_states(expanded, {**states, "literal": "success", "last": "upstream_failed"}, session=session)
    set_states(unexpanded, {"source": "failed", "each": "upstream_failed"}, session=session)
    return expanded, unexpanded


def states_of(run, session):
    session.rollback()
    session.expire_all()
    return {(ti.task_id, ti.map_index): ti.state for ti in task_instances(run, session=session)}


# --- Mapped task instances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"task_regex": "^each$"}, {"task_regex": "^each$", "map_index": 1}])
def test_mapped(mapped, session, more):
    cleared = Clear(days(1, 1, **more), session)
    assert cleared.plan.task_instances == {0: 7, 1: 3, 2: 1}[len(more)]
    cleared.undo_to_before()


def test_unexpanded(mapped, session):
    cleared = Clear(days(2, 2, task_regex="^each$"), session)
    assert states_of(mapped[1], session)["each", -1] is None
    cleared.undo_to_before()
    assert states_of(mapped[1], session)["each", -1] == "upstream_failed"


@pytest.mark.parametrize("length", [0, 1, 3])
def test_expanded_between_clear_and_undo(mapped, session, length):
    run = mapped[1]
    cleared = Clear(days(2, 2, task_regex="^(each|last)$"), session)
    expand(run, "each", length, session=session)
    session.expire_all()
    done = cleared.undo()
    assert (done.put_back, done.stayed) == (1, 1)
    [stays] = cleared.foreseen.stays
    # Expanding renames the task instance to map index 0, or skips it when there is nothing to map over.
    why = VERDICT_TEXT[Verdict.GONE] if length else "queued, started or decided by the scheduler since"
    assert (stays.task_id, stays.map_index, stays.why) == ("each", -1, why)
    assert cleared.foreseen.whole_runs == 0


# --- States -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        None,
        "scheduled",
        "success",
        "failed",
        "skipped",
        "upstream_failed",
        "removed",
        "up_for_retry",
        "up_for_reschedule",
    ],
)
def test_comes_back(live, session, state):
    set_states(live, {"extract": state}, session=session)
    cleared = Clear(days(9, 9, task_regex="^extract$"), session)
    cleared.undo_to_before()
    assert states_of(live, session)["extract", -1] == state


def test_try_0(dag, session):
    [run] = [make_run(dag, session=session, run_id="new", logical_date=START.replace(day=9), state="queued")]
    assert {ti.try_number for ti in task_instances(run, session=session)} == {0}
    Clear(days(9, 9), session).undo_to_before()


@pytest.mark.parametrize("tries", [(1, 3), (4, 3)])
def test_tries(live, session, tries):
    try_number, max_tries = tries
    set_states(live, {"extract": "failed"}, session=session, try_number=try_number, max_tries=max_tries)
    Clear(days(9, 9), session).undo_to_before()


def test_up_for_reschedule_with_its_reschedules(live, session):
    [extract, *_] = set_states(live, {"extract": "up_for_reschedule"}, session=session)
    leave_trail(extract, "rescheduled", session=session)
    session.commit()
    cleared = Clear(days(9, 9), session)
    assert (len(cleared.before["task_reschedule"]), cleared.cleared["task_reschedule"]) == (2, [])
    cleared.undo_to_before()


def test_deferred_with_its_trigger(live, session):
    [extract] = set_states(live, {"extract": "deferred"}, session=session)
    leave_trail(extract, "trigger", session=session)
    leave_trail(extract, "resumes", session=session)
    session.commit()
    cleared = Clear(days(9, 9), session)
    done = cleared.undo()
    assert (done.put_back, done.stayed) == (2, 1)
    assert states_of(live, session)["extract", -1] is None
    advance("etl", "live", "extract", "scheduled", session=session)
    Trigger.clean_unused()
    assert session.scalar(select(func.count()).select_from(Trigger)) == 0


@pytest.mark.parametrize("state", ["queued", "restarting"])
def test_stays_cleared(live, session, state):
    set_states(live, {"extract": state}, session=session)
    cleared = Clear(days(9, 9, running="terminate"), session)
    done = cleared.undo()
    assert (done.put_back, done.stayed) == (2, 1)
    assert states_of(live, session)["extract", -1] is None


def test_running_is_terminated_and_stays(live, session):
    set_states(live, {"extract": "running"}, session=session)
    cleared = Clear(days(9, 9, running="terminate"), session)
    assert states_of(live, session)["extract", -1] == "restarting"
    done = cleared.undo()
    assert (done.put_back, done.stayed) == (2, 1)
    assert states_of(live, session)["extract", -1] == "restarting"


def test_running_that_was_terminated_and_waits_for_its_next_try_stays(live, session):
    """The worker has given it up, so it has no state: its process was killed all the same."""
    set_states(live, {"extract": "running"}, session=session)
    cleared = Clear(days(9, 9, task_regex="^extract$", running="terminate"), session)
    set_states(live, {"extract": None}, session=session, start_date=START)
    cleared.undo_to_nothing()


def test_running_that_is_left_out_goes_on(live, session):
    set_states(live, {"extract": "running"}, session=session)
    cleared = Clear(days(9, 9), session)
    assert cleared.plan.task_instances == 2
    cleared.undo_to_before()


def test_a_task_instance_that_waits_to_resume(live, session):
    """Its trigger has fired: it is scheduled, with the method that it will go on with."""
    [extract] = set_states(live, {"extract": "scheduled"}, session=session)
    leave_trail(extract, "resumes", session=session)
    session.commit()
    Clear(days(9, 9), session).undo_to_before()


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("state", ["success", "awaiting_input"])
def test_human_input(live, session, state, answered):
    if state == "awaiting_input" and not AIRFLOW_33:
        pytest.skip("Airflow 3.2 has no such state")
    [extract] = set_states(live, {"extract": state}, session=session)
    hitl_detail(extract, session=session, answered=answered)
    session.commit()
    cleared = Clear(days(9, 9, task_regex="^extract$"), session)
    if state == "success":
        cleared.undo_to_before()
    else:
        cleared.undo_to_nothing()
    session.rollback()
    session.expire_all()
    detail = session.scalars(select(HITLDetail)).one()
    assert (detail.chosen_options, detail.responded_at is not None) == (
        ["yes"] if answered else None,
        answered,
    )
    assert detail.ti_id == task_instances(live, session=session)[0].id


def test_notes(dag, session):
    run, *_ = [run for run in session.scalars(select(DagRun)) if run.run_id == "run_1"]
    for ti in task_instances(run, session=session):
        leave_trail(ti, "note", session=session)
    run.dag_run_note = DagRunNote(content="about the run", user_id="7")
    session.commit()
    cleared = Clear(days(1, 1), session)
    assert len(cleared.cleared["task_instance_note"]) == 3
    cleared.undo_to_before()
    session.rollback()
    assert sorted(session.scalars(select(TaskInstanceNote.content))) == [
        "about extract",
        "about load",
        "about transform",
    ]


def test_what_tasks_left_behind(mapped, session):
    """XCom, rendered fields and the lengths of mappings are not touched by the clear, nor by its undo."""
    for ti in task_instances(mapped[0], session=session):
        leave_trail(ti, "xcom", session=session)
        leave_trail(ti, "rendered", session=session)
    session.commit()
    cleared = Clear(days(1, 2), session)
    for table in ("xcom", "rendered_task_instance_fields", "task_map"):
        assert cleared.before[table] == cleared.cleared[table] != []
    cleared.undo_to_before()


# --- Dag runs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["queued", "running", "success", "failed"])
def test_dag_runs(dag, session, state):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state=state)
    set_states(run, {"extract": "success", "transform": "failed"}, session=session)
    cleared = Clear(days(9, 9), session)
    cleared.undo_to_before()
    [seen] = cleared.foreseen.runs
    assert (seen.whole, seen.state_back) == (True, state)


def test_a_run_without_a_logical_date(dag, session):
    run = make_run(dag, session=session, run_id="undated", logical_date=None, state="failed")
    set_states(run, {"extract": "failed"}, session=session)
    cleared = Clear(Selection("etl", run_id=("undated",)), session)
    cleared.undo_to_before()
    assert [(seen.run_id, seen.logical_date) for seen in cleared.foreseen.runs] == [("undated", None)]


@pytest.mark.parametrize("bundle_version", [None, "b1"])
def test_a_run_without_a_dag_version(dag, session, bundle_version):
    run = make_run(
        dag,
        session=session,
        run_id="old",
        logical_date=START.replace(day=9),
        state="failed",
        without_version=True,
        bundle_version=bundle_version,
    )
    set_states(run, {"extract": "failed", "transform": None}, session=session)
    cleared = Clear(days(9, 9), session)
    moved = {row["run_id"]: row["created_dag_version_id"] for row in cleared.cleared["dag_run"]}
    assert (moved["old"] is not None) == AIRFLOW_33
    cleared.undo_to_before()


def test_a_run_of_a_backfill(dag, session):
    backfill = Backfill(dag_id="etl", from_date=START, to_date=START + timedelta(days=9), dag_run_conf={})
    session.add(backfill)
    session.flush()
    run = make_run(
        dag,
        session=session,
        run_id="filled",
        logical_date=START.replace(day=9),
        run_type="backfill",
        state="failed",
    )
    run.backfill_id = backfill.id
    session.add(
        BackfillDagRun(
            backfill_id=backfill.id, dag_run_id=run.id, logical_date=run.logical_date, sort_ordinal=1
        )
    )
    session.commit()
    set_states(run, {"extract": "failed"}, session=session)
    Clear(days(9, 9), session).undo_to_before()


def other_etl():
    """The DAG without ``load``, with a task more, and ``transform`` mapped."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        extract = Step(task_id="extract")
        Step.partial(task_id="transform").expand(value=[1, 2])
        extract >> Step(task_id="publish")
    return dag


@pytest.mark.parametrize("on_latest", [True, False])
@pytest.mark.parametrize("bundle_version", [None, "b1"])
def test_a_run_of_an_older_dag_version(dag, session, on_latest, bundle_version):
    session.execute(update(DagRun).values(bundle_version=bundle_version))
    session.commit()
    store_dag(other_etl(), session=session, bundle_version=bundle_version and "b2")
    assert session.scalar(select(func.count()).select_from(DagVersion)) == 2
    Clear(days(1, 2, run_on_latest_version=on_latest), session).undo_to_before()


@pytest.fixture
def moved(dag, session):
    """A run that moved to a version without ``load``, with ``publish``, and with ``restored`` back again."""
    run = next(run for run in session.scalars(select(DagRun)) if run.run_id == "run_1")
    [transform] = set_states(run, {"transform": "removed"}, session=session)
    leave_trail(transform, "rescheduled", session=session)
    with DAG("etl", schedule=None, start_date=START) as latest:
        EmptyOperator(task_id="extract") >> EmptyOperator(task_id="transform")
        EmptyOperator(task_id="publish")
    store_dag(latest, session=session)
    session.expire_all()
    cleared = Clear(days(1, 1, task_regex="^extract$", run_on_latest_version=True), session)
    assert states_of(run, session) == {
        ("extract", -1): None,
        ("transform", -1): None,
        ("load", -1): "removed",
        ("publish", -1): None,
    }
    return run, cleared


def test_a_move_to_the_latest_version_is_taken_back(moved, session):
    run, cleared = moved
    cleared.undo_to_before()
    assert ("publish", -1) not in states_of(run, session)


def test_one_that_the_move_created_and_an_executor_took_stays(moved, session):
    """It is scheduled again, and nothing in its row but the executor's id tells that it was queued."""
    run, cleared = moved
    session.execute(
        update(TaskInstance)
        .where(TaskInstance.run_id == "run_1", TaskInstance.task_id == "publish")
        .values(state="scheduled", external_executor_id="7")
    )
    session.commit()
    cleared.undo()
    assert states_of(run, session)["publish", -1] == "scheduled"
    assert cleared.foreseen.whole_runs == 0


@pytest.mark.parametrize("started", ["extract", "transform", "publish"])
def test_a_run_that_goes_on_in_the_latest_version_keeps_its_task_instances(moved, session, started):
    run, cleared = moved
    advance("etl", "run_1", started, "queued", session=session)
    done = cleared.undo()
    assert (done.put_back, done.stayed) == ((0, 1) if started == "extract" else (1, 0))
    found = states_of(run, session)
    assert found["load", -1] == "removed"
    assert found["extract", -1] == ("queued" if started == "extract" else "success")
    assert found["publish", -1] == ("queued" if started == "publish" else None)
    assert cleared.foreseen.whole_runs == 0


def test_a_task_that_is_gone_from_the_dag(dag, session):
    with DAG("etl", schedule=None, start_date=START) as latest:
        EmptyOperator(task_id="extract") >> EmptyOperator(task_id="transform")
    store_dag(latest, session=session)
    cleared = Clear(days(1, 2), session)
    assert cleared.plan.task_instances == 6
    cleared.undo_to_before()


# --- The DAG changes meanwhile ------------------------------------------------------------------------------


def re_parse(session):
    store_dag(other_etl(), session=session)
    session.expire_all()


def pause(session):
    session.execute(update(DagModel).values(is_paused=True))
    session.commit()


def remove(session):
    session.rollback()
    delete_dag("etl")
    session.expire_all()


def test_a_dag_paused_before_the_confirm_is_cleared_as_shown(dag, session):
    before = everything(session)
    plan = plan_of(days(1, 1))
    pause(session)
    undo(clear(plan))
    changed = diff_snapshots(before, everything(session))
    assert set(changed) == {"dag"}


@pytest.mark.parametrize("meddle", [re_parse, remove])
def test_a_dag_changed_before_the_confirm_is_not_cleared(dag, session, meddle):
    plan = plan_of(days(1, 1))
    meddle(session)
    before = everything(session)
    with pytest.raises(Refused) as refused:
        step(plan)
    assert refused.value.status == 409
    assert refused.value.details["drift"][0]["what"] == "dag_version"
    assert diff_snapshots(before, everything(session)) == {}


@pytest.mark.parametrize("meddle", [re_parse, pause])
def test_a_dag_changed_after_the_clear_is_no_hindrance(dag, session, meddle):
    cleared = Clear(days(1, 2), session)
    meddle(session)
    cleared.undo()
    rows = everything(session)
    for table in ("task_instance", "dag_run", "task_instance_history"):
        assert rows[table] == cleared.before[table]
    assert (cleared.plan.put_back, cleared.plan.stayed) == (6, 0)


def test_a_dag_deleted_after_the_clear_leaves_nothing_to_undo(dag, session):
    cleared = Clear(days(1, 2), session)
    remove(session)
    foreseen = preview_undo(cleared.plan, now())
    assert (foreseen.put_back, foreseen.stay, foreseen.whole_runs) == (0, 6, 0)
    assert {run.why_kept for run in foreseen.runs} == {"the dag run was deleted"}
    cleared.undo_to_nothing()
    assert cleared.plan.status == "undone"


def test_a_run_deleted_after_the_clear(dag, session):
    cleared = Clear(days(1, 2), session)
    session.execute(delete(DagRun).where(DagRun.run_id == "run_1"))
    session.commit()
    done = cleared.undo()
    assert (done.put_back, done.stayed) == (3, 3)
    assert {run.run_id: run.whole for run in cleared.foreseen.runs} == {"run_1": False, "run_2": True}
