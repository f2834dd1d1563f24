"""Following a finding's advice in other DAGs, in a DAG's file, in a store or with somebody else."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from airflow.api_fastapi.execution_api.routes.task_instances import get_task_instance_count
from airflow.models.asset import AssetModel
from airflow.models.dagbag import DBDagBag
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import DAG, Asset
from sqlalchemy import select

from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services.change_sets.waiting import plan_with_waiting
from safe_clear_plugin.services.planning.drafts import discard_draft
from tests.db import change_set_acting, changed_dags
from tests.db.acting import ME, OTHER, clear, confirm, now, plan_of, reread, undo
from tests.db.changed_dags import parse, parse_and_run, versions
from tests.db.finding_scenes import chain, finding, one_run, store_with_runs
from tests.db.played_runs import holds, run_to_the_end
from tests.support.factories import make_run, set_states, store_dag, task_instances
from tests.support.scenes import START

pytestmark = [pytest.mark.backend]


# Other DAGs


@pytest.fixture
def waiting(session):
    """Store a failed run of ``etl``, and a run of a DAG whose sensor saw an earlier try of it succeed."""
    [run] = store_with_runs(chain("etl", "work"), session, {"work": "failed"})
    with DAG("waiting", schedule=None, start_date=START) as dag:
        sensor = ExternalTaskSensor(task_id="wait", external_dag_id="etl", external_task_id="work")
        _ = sensor >> EmptyOperator(task_id="report")
    store_dag(dag, session=session)
    theirs = make_run(dag, session=session, logical_date=run.logical_date, run_id="theirs", state="success")
    set_states(theirs, {"wait": "success", "report": "success"}, session=session)
    return run, theirs


def sees_success(run, session):
    """Ask what the sensor asks when it is started: how many of the tasks that it waits for succeeded."""
    session.rollback()
    asked = {"task_ids": ["work"], "logical_dates": [run.logical_date], "states": ["success"]}
    return bool(get_task_instance_count("etl", session, DBDagBag(), **asked))


def test_the_other_dag_is_cleared_once_these_have_finished(session, waiting):
    run, theirs = waiting
    plan = clear(one_run(run))
    assert [link.id for link in finding(plan, "waited_for").links] == ["waiting"]
    assert not sees_success(run, session)
    run_to_the_end("etl", run.run_id, session)
    before = states(theirs, session)
    assert before == {"wait": ("success", 1), "report": ("success", 1)}  # Airflow left it alone
    assert sees_success(run, session)
    rows, of_runs = holds(plan_of(one_run(theirs)), session)
    assert {task_id for _, task_id, _ in rows} == {"wait", "report"}
    assert set(rows.values()) == set(of_runs.values()) == {"runs"}


def states(run, session):
    session.expire_all()
    return {ti.task_id: (ti.state, ti.try_number) for ti in task_instances(run, session=session)}


def test_the_other_dag_in_a_change_set_begins_after_these(session, waiting, monkeypatch):
    change_set_acting.fake_auth_manager(monkeypatch)
    run, theirs = waiting
    together = plan_with_waiting(plan_of(one_run(run)), {("waiting", "wait"): timedelta()}, None, ME, now())
    assert together.dag_ids == ("etl", "waiting")
    change_set_acting.confirm(together)
    done = change_set_acting.drive(together)
    assert change_set_acting.statuses(done) == ["applied", "applied"]
    assert {state for state, _ in states(theirs, session).values()} == {None}
    # The sensor that is started before these have finished waits for the new success.
    assert not sees_success(run, session)
    run_to_the_end("etl", run.run_id, session)
    assert sees_success(run, session)


# A DAG's file


def test_a_file_that_reads_no_clock_any_more_gives_no_more_versions(session):
    parse_and_run(session, 4, apart=timedelta(minutes=1))
    selection = changed_dags.of("b", run_on_latest_version=True)
    plan = plan_of(selection)
    assert finding(plan, "version_at_each_parse") is not None
    begin = datetime.now(timezone.utc)
    for minute in range(1, 8):
        with time_machine.travel(begin + timedelta(minutes=minute), tick=False):
            parse(session, doc_md="the same at each parse")
        make_run(changed_dags.dag_of(changed_dags.a_b), session=session, task_state="success")
        assert versions(session) == 5
    fixed = plan_of(selection)
    assert finding(fixed, "version_at_each_parse") is None
    parse(session, doc_md="the same at each parse")
    assert clear(fixed).status == "applied"


# A store


def test_a_watermark_that_is_set_back_loads_earlier_data_again(session):
    store = pytest.importorskip("airflow.api_fastapi.core_api.routes.public.asset_state_store")
    bodies = pytest.importorskip("airflow.api_fastapi.core_api.datamodels.asset_state_store")
    table = Asset("table", "s3://b/table")
    with DAG("etl", schedule=None, start_date=START) as dag:
        EmptyOperator(task_id="load", outlets=[table])
    run = make_run(store_dag(dag, session=session), session=session, task_state="success")
    asset_id = session.scalar(select(AssetModel.id).where(AssetModel.name == "table"))

    def set_to(day):
        store.set_asset_state_store(asset_id, "watermark", bodies.AssetStateStoreBody(value=day), session)
        session.commit()

    def days_to_load():
        """Return what a task loads that goes by the watermark."""
        session.rollback()
        watermark = store.get_asset_state_store(asset_id, "watermark", session).value
        return [day for day in ("2026-01-01", "2026-01-02", "2026-01-03") if day > watermark]

    set_to("2026-01-03")
    found = finding(clear(one_run(run)), "asset_state")
    assert [(link.kind, link.id) for link in found.links] == [("asset", str(asset_id))]
    assert days_to_load() == []  # The clear leaves the store alone, and the task finds nothing.
    set_to("2026-01-01")
    run_to_the_end("etl", run.run_id, session)
    assert days_to_load() == ["2026-01-02", "2026-01-03"]
    again = plan_of(one_run(run))
    assert finding(again, "asset_state") is not None  # A value is stored, if another one.
    store.clear_asset_state_store(asset_id, session)
    session.commit()
    assert finding(plan_of(one_run(run)), "asset_state") is None


# Somebody else


def their_plan(session):
    [run] = store_with_runs(chain("etl", "a", "b"), session, {"a": "failed", "b": "failed"})
    theirs = plan_of(one_run(run, task_regex="^a$"), OTHER)
    mine = plan_of(one_run(run))
    assert [link.id for link in finding(mine, "other_plan").links] == [theirs.id]
    return run, theirs, mine


def test_somebody_else_who_drops_their_plan_leaves_mine_to_be_applied(session):
    run, theirs, mine = their_plan(session)
    discard_draft(theirs, OTHER, now())
    assert finding(plan_of(one_run(run)), "other_plan") is None
    assert clear(mine).status == "applied"


def test_after_somebody_else_has_cleared_a_part_mine_cannot_be_applied(session):
    run, theirs, mine = their_plan(session)
    clear(theirs, OTHER)
    with pytest.raises(Refused) as refused:
        confirm(mine)
    assert refused.value.status == 409
    assert {state for state, _ in states(run, session).values()} == {None, "failed"}
    later = plan_of(one_run(run))
    assert "cleared within the last day" in finding(later, "other_plan").title
    # They agree that mine is the one that is wanted.
    undo(reread(theirs, session), actor=OTHER)
    last = plan_of(one_run(run))
    assert finding(last, "other_plan") is None
    assert clear(last).status == "applied"
