"""What a plan says of other DAGs: assets, triggers and sensors."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from airflow.assets.manager import AssetManager
from airflow.models.asset import AssetAliasModel, AssetDagRunQueue, AssetModel, AssetPartitionDagRun
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskMarker, ExternalTaskSensor
from airflow.sdk import DAG, Asset, AssetAlias, PartitionedAssetTimetable
from sqlalchemy import event, select, update

from safe_clear_plugin.airflow_api.dag import external_sensors
from tests.db.acting import days, plan_of
from tests.db.finding_scenes import (
    etl,
    findings_by_code,
    store,
    work,
)
from tests.support.factories import store_dag, task_instances
from tests.support.scenes import START

pytestmark = pytest.mark.backend


def dag_links(finding):
    return {link.id: link.text for link in finding.links if link.kind == "dag"}


# Assets


def test_updated_assets_name_the_dags_that_they_trigger(session):
    sales = Asset("sales", uri="s3://lake/sales")
    etl(session, work(outlets=[sales]))
    store(session, "finance", work(), schedule=[sales])
    store(session, "asleep", work(), schedule=[sales], is_paused=True)
    store(session, "both", work(), schedule=[sales, Asset("other")])
    store(session, "by_name", work(), schedule=Asset.ref(name="sales"))
    store(session, "by_uri", work(), schedule=Asset.ref(uri="s3://lake/sales"))
    store(session, "unrelated", work(), schedule=[Asset("other")])
    finding = findings_by_code(plan_of(days(1, 2)))["assets"]
    assert finding.title == "2 task instances will update 1 asset again, which triggers 4 Dags"
    assert "`sales`" in finding.detail
    assert "1 Dag is paused" in finding.detail
    assert dag_links(finding) == {
        "finance": "",
        "asleep": "asleep (paused)",
        "both": "both (needs other assets too)",
        "by_name": "",
        "by_uri": "",
    }
    asset_id = session.scalar(select(AssetModel.id).where(AssetModel.name == "sales"))
    assert [(link.id, link.text) for link in finding.links if link.kind == "asset"] == [
        (str(asset_id), "sales")
    ]


def test_airflow_queues_the_dags_that_are_named(session):
    sales = Asset("sales", uri="s3://lake/sales")
    etl(session, work(outlets=[sales]))
    store(session, "finance", work(), schedule=[sales])
    store(session, "asleep", work(), schedule=[sales], is_paused=True)
    store(session, "by_name", work(), schedule=Asset.ref(name="sales"))
    finding = findings_by_code(plan_of(days(1, 1)))["assets"]
    run = session.scalars(select(DagRun).where(DagRun.run_id == "run_1")).one()
    [ti] = task_instances(run, session=session)
    model = session.scalars(select(AssetModel).where(AssetModel.name == "sales")).one()
    AssetManager.register_asset_change(task_instance=ti, asset=model.to_serialized(), session=session)
    session.flush()
    queued = set(session.scalars(select(AssetDagRunQueue.target_dag_id)))
    session.rollback()
    assert queued == {dag_id for dag_id, text in dag_links(finding).items() if "paused" not in text}


@pytest.mark.parametrize("key", ["2026-01-01", None])
def test_an_event_queues_partitioned_dags_only_with_a_partition_key(key, session):
    sales = Asset("sales", uri="s3://lake/sales")
    etl(session, work(outlets=[sales]), runs=1)
    store(session, "finance", work(), schedule=[sales])
    store(session, "by_day", work(), schedule=PartitionedAssetTimetable(assets=sales))
    session.execute(update(DagRun).values(partition_key=key))
    session.commit()
    finding = findings_by_code(plan_of(days(1, 1)))["assets"]
    assert "1 Dag that is scheduled on it will not run" in finding.detail
    [ti] = task_instances(session.scalars(select(DagRun)).one(), session=session)
    model = session.scalars(select(AssetModel).where(AssetModel.name == "sales")).one()
    AssetManager.register_asset_change(
        task_instance=ti, asset=model.to_serialized(), partition_key=key, session=session
    )
    session.flush()
    queued = {
        *session.scalars(select(AssetDagRunQueue.target_dag_id)),
        *session.scalars(select(AssetPartitionDagRun.target_dag_id)),
    }
    session.rollback()
    assert set(dag_links(finding)) == queued == {"by_day" if key else "finance"}


def test_an_asset_of_another_task_is_not_updated(session):
    def build():
        _ = EmptyOperator(task_id="work") >> EmptyOperator(task_id="load", outlets=[Asset("sales")])

    etl(session, build)
    assert "assets" not in findings_by_code(plan_of(days(1, 2, task_regex="^work$")))
    assert findings_by_code(plan_of(days(1, 2, task_regex="^load$")))["assets"].count == 2


def test_an_alias_stands_for_the_assets_that_it_has_had(session):
    sales = Asset("sales")
    etl(session, work(outlets=[AssetAlias("today")]))
    store(session, "finance", work(), schedule=[sales])
    store(session, "by_alias", work(), schedule=AssetAlias("today"))
    finding = findings_by_code(plan_of(days(1, 1)))["assets"]
    assert set(dag_links(finding)) == {"by_alias"}
    alias = session.scalars(select(AssetAliasModel).where(AssetAliasModel.name == "today")).one()
    alias.assets.append(session.scalars(select(AssetModel).where(AssetModel.name == "sales")).one())
    session.commit()
    assert set(dag_links(findings_by_code(plan_of(days(1, 1)))["assets"])) == {"by_alias", "finance"}


def test_mapped_tasks_update_assets_too(session):
    outlets = [Asset("sales"), AssetAlias("today"), Asset.ref(name="by_name")]

    def build():
        EmptyOperator.partial(task_id="many", outlets=outlets).expand(doc_md=["1", "2"])

    store(session, "by_name_too", work(outlets=[Asset("by_name")]), schedule=[Asset("sales")])
    etl(session, build, runs=1)
    finding = findings_by_code(plan_of(days(1, 1)))["assets"]
    assert finding.title == "2 task instances will update 3 assets again, which trigger 1 Dag"
    assert dag_links(finding) == {"by_name_too": ""}


def test_a_run_that_starts_nothing_updates_nothing(session):
    etl(session, work(outlets=[Asset("sales")]))
    assert "assets" not in findings_by_code(plan_of(days(1, 2, reset_dag_runs=False)))


# Triggers


def test_triggered_dags_are_named(session):
    def build():
        TriggerDagRunOperator(task_id="one", trigger_dag_id="child")
        TriggerDagRunOperator(task_id="two", trigger_dag_id="asleep")
        TriggerDagRunOperator.partial(task_id="many", trigger_dag_id="child").expand(conf=[{}, {}])

    store(session, "child", work())
    store(session, "asleep", work(), is_paused=True)
    etl(session, build, runs=1)
    finding = findings_by_code(plan_of(days(1, 1)))["triggers"]
    assert finding.title == "4 task instances will trigger 2 other Dags again"
    assert dag_links(finding) == {"asleep": "asleep (paused)", "child": ""}
    assert "a new run in addition to the earlier one" in finding.detail


def test_a_fixed_run_and_a_templated_dag_are_reported(session):
    def build():
        TriggerDagRunOperator(task_id="same", trigger_dag_id="child", logical_date="{{ logical_date }}")
        TriggerDagRunOperator(task_id="named", trigger_dag_id="child", trigger_run_id="x")
        TriggerDagRunOperator(task_id="which", trigger_dag_id="{{ var.value.dag }}")

    store(session, "child", work())
    etl(session, build, runs=1)
    finding = findings_by_code(plan_of(days(1, 1)))["triggers"]
    assert "`named` and `same` trigger a run with a fixed date or id" in finding.detail
    assert "Which Dag `which` triggers" in finding.detail


def test_a_task_without_a_trigger_is_not_reported(session):
    etl(session, work())
    assert "triggers" not in findings_by_code(plan_of(days(1, 2)))


# Sensors and markers


@pytest.mark.parametrize(
    ("sensor", "waits"),
    [
        ({"external_dag_id": "etl"}, True),
        ({"external_dag_id": "etl", "external_task_id": "work"}, True),
        ({"external_dag_id": "etl", "external_task_ids": ["load", "work"]}, True),
        ({"external_dag_id": "etl", "external_task_id": "load"}, False),
        ({"external_dag_id": "etl", "external_task_group_id": "gone"}, False),
        ({"external_dag_id": "other", "external_task_id": "work"}, False),
    ],
)
def test_sensors_of_other_dags_wait_for_their_tasks(session, sensor, waits):
    etl(session, work())
    store(session, "waiting", lambda: ExternalTaskSensor(task_id="wait", **sensor))
    finding = findings_by_code(plan_of(days(1, 2))).get("waited_for")
    assert bool(finding) == waits
    if finding:
        assert finding.title == "1 other Dag waits for these tasks"
        assert dag_links(finding) == {"waiting": ""}


def test_a_sensor_that_is_gone_does_not_wait(session):
    etl(session, work())
    build = lambda: ExternalTaskSensor(task_id="wait", external_dag_id="etl")  # noqa: E731
    dag = store(session, "waiting", build, runs=1)
    assert "waited_for" in findings_by_code(plan_of(days(1, 2)))
    with DAG(dag.dag_id, schedule=None, start_date=START) as changed:
        EmptyOperator(task_id="no_longer")
    store_dag(changed, session=session, new_version=True)
    assert "waited_for" not in findings_by_code(plan_of(days(1, 2)))


def test_a_dag_that_has_left_the_files_does_not_wait(session):
    etl(session, work())
    store(session, "waiting", lambda: ExternalTaskSensor(task_id="wait", external_dag_id="etl"))
    session.execute(update(DagModel).where(DagModel.dag_id == "waiting").values(is_stale=True))
    session.commit()
    assert "waited_for" not in findings_by_code(plan_of(days(1, 2)))


def test_markers_name_the_dag_that_they_point_to(session):
    store(session, "downstream", work())
    etl(
        session,
        lambda: ExternalTaskMarker(task_id="work", external_dag_id="downstream", external_task_id="work"),
    )
    assert dag_links(findings_by_code(plan_of(days(1, 2)))["waited_for"]) == {"downstream": ""}


def test_only_changed_dags_are_read_again(session):
    etl(session, work())
    for number in range(3):
        store(session, f"waiting_{number}", lambda: ExternalTaskSensor(task_id="wait", external_dag_id="etl"))
    assert len(external_sensors.waiting_dag_ids("etl", {"work"}, session)) == 3
    read = []

    def note(conn, cursor, statement, parameters, context, executemany):
        # A store writes and reads whole DAGs; only ours asks for a part.
        if statement.startswith("SELECT") and "dag_dependencies" in str(parameters):
            read.append(parameters)

    event.listen(session.get_bind(), "before_cursor_execute", note)
    try:
        assert len(external_sensors.waiting_dag_ids("etl", {"work"}, session)) == 3
        assert read == []
        store(session, "waiting_3", lambda: ExternalTaskSensor(task_id="wait", external_dag_id="etl"))
        assert len(external_sensors.waiting_dag_ids("etl", {"work"}, session)) == 4
        assert len(read) == 1
    finally:
        event.remove(session.get_bind(), "before_cursor_execute", note)


def test_a_dag_whose_processor_has_its_clock_ahead_hides_no_other_dag(session):
    etl(session, work())
    store(session, "ahead", lambda: ExternalTaskSensor(task_id="wait", external_dag_id="etl"))
    ahead = update(SerializedDagModel).where(SerializedDagModel.dag_id == "ahead")
    session.execute(ahead.values(last_updated=datetime.now(timezone.utc) + timedelta(hours=1)))
    session.commit()
    assert external_sensors.waiting_dag_ids("etl", {"work"}, session) == {"ahead"}
    store(session, "later", lambda: ExternalTaskSensor(task_id="wait", external_dag_id="etl"))
    assert external_sensors.waiting_dag_ids("etl", {"work"}, session) == {"ahead", "later"}


def test_no_other_dag_is_named_outside_the_links(session):
    secret = "secret_dag"
    sales = Asset("sales")

    def build():
        EmptyOperator(task_id="work", outlets=[sales])
        TriggerDagRunOperator(task_id="trigger", trigger_dag_id=secret)

    store(
        session, secret, lambda: ExternalTaskSensor(task_id="wait", external_dag_id="etl"), schedule=[sales]
    )
    etl(session, build)
    findings = findings_by_code(plan_of(days(1, 2)))
    assert {"assets", "triggers", "waited_for"} <= set(findings)
    for finding in findings.values():
        texts = {**finding.to_json(), "links": None}
        assert secret not in str(texts)


def test_compressed_dags_are_read_too(session):
    import json
    import zlib

    etl(session, work())
    store(session, "waiting", lambda: ExternalTaskSensor(task_id="wait", external_dag_id="etl"))
    row = session.scalars(select(SerializedDagModel).where(SerializedDagModel.dag_id == "waiting")).one()
    row._data_compressed, row._data = zlib.compress(json.dumps(row._data).encode()), None
    session.commit()
    assert external_sensors.waiting_dag_ids("etl", {"work"}, session) == {"waiting"}
