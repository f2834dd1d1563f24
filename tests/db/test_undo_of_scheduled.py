"""What an undo does with task instances that the scheduler has scheduled, and may be queueing."""

from __future__ import annotations

import pytest
from airflow.executors.local_executor import LocalExecutor
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import event, select, update

from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.web.api.step_json import undo_preview_json
from tests.db.acting import Clear, days, now, undo, undo_step
from tests.support.factories import advance, serialized
from tests.support.options import chosen
from tests.support.scenes import store_etl

pytestmark = [pytest.mark.backend, pytest.mark.airflow32, pytest.mark.sqlite]
on_sqlite = pytest.mark.skipif(chosen.postgresql, reason="PostgreSQL has a lock for the scheduler")


@pytest.fixture
def load(session):
    """Two task instances cleared in a run that was over: ``transform`` and ``load``."""
    store_etl(session, runs=1)
    return Clear(days(1, 1, task_regex="^(transform|load)$"), session)


def live(session, task_id):
    session.rollback()
    query = select(TaskInstance).where(TaskInstance.task_id == task_id)
    return session.scalars(query.execution_options(populate_existing=True)).one()


@on_sqlite
def test_scheduled_stays_on_sqlite_and_preview_receipt_and_json_say_why(load, session):
    advance("etl", "run_1", "load", "scheduled", session=session)
    cleared_id = live(session, "load").id
    foreseen = preview_undo(load.plan, now())
    told = undo_preview_json(load.plan, foreseen)
    assert [row["verdict"] for row in told["counts"] if row["now"] == "scheduled"] == ["may_be_queued"]
    [stays] = told["stays"]
    assert (stays["task_id"], stays["state_now"]) == ("load", "scheduled")
    assert "SQLite can't stop the scheduler" in stays["why"]
    load.undo()
    assert (load.plan.put_back, load.plan.stayed) == (1, 1)
    left = live(session, "load")
    assert (left.state, left.id) == ("scheduled", cleared_id)
    assert live(session, "transform").state == "failed"


@on_sqlite
def test_one_that_was_scheduled_and_has_no_state_again_stays_on_sqlite(load, session):
    """Its try number shows it: the scheduler may still hold it as scheduled."""
    advance("etl", "run_1", "load", "scheduled", session=session)
    session.execute(update(TaskInstance).where(TaskInstance.task_id == "load").values(state=None))
    session.commit()
    load.undo()
    assert (load.plan.put_back, load.plan.stayed) == (1, 1)


@pytest.mark.skipif(not chosen.postgresql, reason="SQLite can't stop the scheduler for the scheduler")
def test_scheduled_comes_back_on_postgresql(load, session):
    advance("etl", "run_1", "load", "scheduled", session=session)
    load.undo_to_before()


@pytest.fixture
def before_write(session):
    """Call a function right before the next statement that begins with some text."""
    waiting = []

    def act(connection, cursor, statement, *_):
        if waiting and statement.startswith(waiting[0][0]):
            waiting.pop()[1]()

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", act)
    yield lambda begins, work: waiting.append((begins, work))
    event.remove(engine, "before_cursor_execute", act)
    assert not waiting


@on_sqlite
def test_an_undo_amid_the_schedulers_critical_section_leaves_what_it_queues(load, session, before_write):
    """The scheduler has read *load* as scheduled, and queues it by its key once the undo has committed."""
    session.execute(update(DagRun).values(_state="running"))
    session.commit()
    advance("etl", "run_1", "load", "scheduled", session=session)
    cleared_id = live(session, "load").id
    session.rollback()
    runner = SchedulerJobRunner(job=Job(), executors=[LocalExecutor()])
    with create_session(scoped=False) as scheduler:
        before_write("UPDATE task_instance", lambda: undo(load.plan))
        queued = runner._executable_task_instances_to_queued(8, session=scheduler)
    assert [ti.id for ti in queued] == [cleared_id]
    found = live(session, "load")
    assert (found.id, found.state) == (cleared_id, "queued")
    assert live(session, "transform").state == "failed"


@on_sqlite
def test_an_undo_amid_scheduling_is_not_written_over(load, session, before_write):
    """The scheduler has read *load* without a state, and schedules it by the id that it had then."""
    before = load.before["task_instance"]
    task = serialized("etl", session=session).get_task("load")
    session.rollback()
    with create_session(scoped=False) as scheduler:
        run = scheduler.scalars(select(DagRun)).one()
        ti = scheduler.scalars(select(TaskInstance).where(TaskInstance.task_id == "load")).one()
        ti.task = task
        before_write("UPDATE task_instance", lambda: undo_step(load.plan))
        assert run.schedule_tis([ti], session=scheduler) == 0
    [row] = [row for row in before if row["task_id"] == "load"]
    found = live(session, "load")
    assert (found.id.hex, found.state, found.try_number) == (row["id"], "upstream_failed", row["try_number"])
