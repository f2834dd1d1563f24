"""What the cleared tasks set off in other DAGs."""

from __future__ import annotations

import pytest
from airflow import settings
from airflow.models.asset import AssetDagRunQueue, AssetEvent
from sqlalchemy import func, select


@pytest.fixture(scope="module")
def events():
    """Return the ids of the events of the asset, by the run that updated it."""
    with settings.NonScopedSession() as session:
        query = select(AssetEvent.source_run_id, AssetEvent.id).where(AssetEvent.source_dag_id == "producer")
        return [tuple(row) for row in session.execute(query)]


def test_the_successes_are_events_that_trigger_the_other_dag(stage, events):
    finding = stage.finding("producer", "assets")
    assert finding["title"] == "2 task instances will update 1 asset again, which triggers 2 Dags"
    assert sorted(run_id for run_id, _ in events) == ["run_1", "run_2"]

    def taken():
        with settings.NonScopedSession() as session:
            happened = session.scalars(select(AssetEvent).where(AssetEvent.source_dag_id == "producer"))
            return {
                event.id for event in happened for run in event.created_dagruns if run.dag_id == "consumer"
            }

    def waiting():
        with settings.NonScopedSession() as session:
            queued = select(func.count()).where(AssetDagRunQueue.target_dag_id == "consumer")
            return session.scalar(queued)

    stage.wait_until(lambda: stage.runs("consumer") and not waiting(), "the consumer was triggered")
    # An event may share a run with another, or stay without one: Airflow queues a DAG once while events wait,
    # and its run takes the events up to the first of them.
    assert 1 <= len(taken()) <= finding["count"]
    assert 1 <= len(stage.runs("consumer")) <= len(taken())


def test_a_dag_that_needs_another_asset_too_waits_for_that(stage, events):
    notes = {link["id"]: link["text"] for link in stage.finding("producer", "assets")["links"]}
    assert notes["consumer_of_two"] == "consumer_of_two (needs other assets too)"
    assert stage.runs("consumer_of_two") == {}
    with settings.NonScopedSession() as session:
        queued = select(func.count()).where(AssetDagRunQueue.target_dag_id == "consumer_of_two")
        assert session.scalar(queued) == 1


def test_a_paused_dag_misses_it(stage, events):
    finding = stage.finding("producer", "assets")
    assert "1 Dag is paused and will miss the event." in finding["detail"]
    stage.pause("consumer_asleep", paused=False)
    with settings.NonScopedSession() as session:
        queued = select(func.count()).where(AssetDagRunQueue.target_dag_id == "consumer_asleep")
        assert session.scalar(queued) == 0
    assert stage.runs("consumer_asleep") == {}


def test_triggered_dags_run_again(stage):
    finding = stage.finding("parent", "triggers")
    assert (finding["count"], finding["title"]) == (5, "5 task instances will trigger 2 other Dags again")
    assert (
        "`same`, `same_again` and `same_or_skip` trigger a run with a fixed date or id" in finding["detail"]
    )
    assert stage.cleared_states("parent") == {
        ("run_1", "another"): "success",
        ("run_1", "to_sleeping"): "success",
        ("run_1", "same"): "failed",
        ("run_1", "same_or_skip"): "skipped",
        ("run_1", "same_again"): "success",
    }
    stage.wait_until(
        lambda: set(stage.run_states("child").values()) == {"success"}, "the triggered runs have ended"
    )
    children = stage.runs("child")
    [another] = children.keys() - {"there_already", "to_reset"}
    assert {run_id: run.clear_number for run_id, run in children.items()} == {
        another: 0,
        "there_already": 0,
        "to_reset": 1,
    }


def test_in_a_paused_dag_the_triggered_run_waits(stage):
    finding = stage.finding("parent", "triggers")
    assert "1 Dag is paused: the runs will wait there." in finding["detail"]
    assert list(stage.run_states("child_asleep").values()) == ["queued"]
    assert set(stage.states("child_asleep").values()) == {None}
