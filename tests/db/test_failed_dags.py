"""What failed in some time, by DAG: the query behind the start page."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from airflow.models.dag import DagModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from safe_clear_plugin.airflow_api.selection import failed_dags
from safe_clear_plugin.core.failed_dags import DAYS, FailedFilter
from safe_clear_plugin.services.planning.preview import make_plan
from tests.db.acting import ME
from tests.support.factories import make_run, set_states, store_dag
from tests.support.scenes import START, store_etl

pytestmark = pytest.mark.backend

NIGHT = datetime(2026, 3, 1, 2, tzinfo=timezone.utc)
MORNING = NIGHT + timedelta(hours=2)
MINUTE, DAY, MICROSECOND = timedelta(minutes=1), timedelta(days=1), timedelta(microseconds=1)
TONIGHT = FailedFilter(NIGHT, MORNING)


def found(session, wanted=TONIGHT):
    return {dag.dag_id: dag for dag in failed_dags.failed_dags(wanted, session)}


def first(session, dag_id="etl", wanted=TONIGHT):
    return failed_dags.first_failed_tasks([dag_id], wanted, session).get(dag_id)


def run_of(dag, session, run_id, *, ended_at=None, state="success", **more):
    run = make_run(dag, session=session, run_id=run_id, task_state="success", state=state, **more)
    if ended_at:
        run.end_date = ended_at
        session.commit()
    return run


def end(session, run, at, **states):
    set_states(run, states, session=session, end_date=at)


@pytest.fixture
def etl(session):
    return store_etl(session, runs=0)


@pytest.mark.parametrize(
    ("at", "is_in"),
    [(NIGHT - MICROSECOND, False), (NIGHT, True), (MORNING, True), (MORNING + MICROSECOND, False)],
    ids=["just before", "first moment", "last moment", "just after"],
)
def test_both_edges_of_the_time_are_in_it(session, etl, at, is_in):
    end(session, run_of(etl, session, "run_1"), at, transform="failed")
    assert ("etl" in found(session)) is is_in


@pytest.mark.one_database
@pytest.mark.parametrize("at", [NIGHT - MICROSECOND, NIGHT, MORNING, MORNING + MICROSECOND])
def test_a_row_counts_what_its_preview_takes(session, etl, at):
    run = run_of(etl, session, "run_1")
    end(session, run, NIGHT + MINUTE, transform="failed")
    end(session, run, at, load="upstream_failed")
    end(session, run_of(etl, session, "run_2"), at, extract="failed")
    row = found(session)["etl"]
    alone = TONIGHT.selection("etl").without_relatives()
    plan = make_plan(alone, ME, MORNING)
    assert (plan.task_instances, plan.dag_runs) == (row.task_instances, row.dag_runs)


def test_only_what_is_still_failed_and_has_an_end_counts(session, etl):
    run = run_of(etl, session, "run_1")
    end(session, run, NIGHT, extract="success", transform="removed", load="skipped")
    end(session, run_of(etl, session, "run_2"), None, transform="failed", load="upstream_failed")
    assert found(session) == {}


@pytest.mark.one_database
def test_runs_and_task_instances_are_counted_by_state(session, etl):
    for number, states in enumerate(
        ({"extract": "failed", "transform": "upstream_failed", "load": "upstream_failed"}, {"load": "failed"})
    ):
        end(session, run_of(etl, session, f"run_{number}"), NIGHT + MINUTE, **states)
    row = found(session)["etl"]
    assert (row.dag_runs, row.failed, row.upstream_failed, row.task_instances) == (2, 2, 2, 4)


@pytest.mark.one_database
def test_mapped_task_instances_count_each(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        EmptyOperator.partial(task_id="part").expand(doc=["a", "b", "c"])
    store_dag(dag, session=session)
    run = make_run(dag, session=session, run_id="run_1", state="failed")
    set_states(run, {("part", 0): "success", ("part", 2): "failed"}, session=session, end_date=NIGHT + MINUTE)
    (early,) = set_states(run, {("part", 1): "failed"}, session=session, end_date=NIGHT)
    early._rendered_map_index = "emea"
    session.commit()
    row = found(session)["etl"]
    assert (row.dag_runs, row.failed) == (1, 2)
    task = first(session)
    assert (task.task_id, task.map_index, task.label) == ("part", 1, "emea")


@pytest.mark.one_database
def test_runs_without_a_logical_date_count(session, etl):
    end(session, run_of(etl, session, "asset", run_type="asset_triggered"), NIGHT, load="failed")
    assert found(session)["etl"].dag_runs == 1


def test_the_first_to_fail_is_failed_itself(session, etl):
    """A clear leaves the end date that an upstream_failed one had before."""
    run = run_of(etl, session, "run_1")
    end(session, run, NIGHT, load="upstream_failed")
    end(session, run, NIGHT + 9 * MINUTE, extract="failed")
    end(session, run_of(etl, session, "run_2"), NIGHT + 5 * MINUTE, transform="failed")
    task = first(session)
    assert (task.task_id, task.run_id, task.ended_at) == ("transform", "run_2", NIGHT + 5 * MINUTE)
    row = found(session)["etl"]
    assert (row.since, row.last) == (NIGHT + 5 * MINUTE, NIGHT + 9 * MINUTE)


def test_upstream_failed_alone_is_first_where_nothing_else_failed(session, etl):
    end(session, run_of(etl, session, "run_1"), NIGHT, load="upstream_failed")
    assert first(session).task_id == "load"
    assert found(session)["etl"].since == NIGHT


@pytest.mark.one_database
def test_a_run_that_failed_without_a_failed_task_is_listed(session, etl):
    run_of(etl, session, "run_1", state="failed", ended_at=NIGHT)
    run_of(etl, session, "run_2", state="failed", ended_at=NIGHT - MICROSECOND)
    row = found(session)["etl"]
    assert (row.failed_dag_runs, row.task_instances, row.dag_runs) == (1, 0, 0)
    assert (row.since, row.last) == (NIGHT, NIGHT)
    assert row.has("failed_run")
    assert not row.has("failed")


def test_the_week_ends_with_the_time_and_counts_each_run_once(session, etl):
    for number, at in enumerate(
        (
            MORNING - 7 * DAY,  # the first moment that is no longer in the week
            MORNING - 7 * DAY + MICROSECOND,
            MORNING - 2 * DAY,
            NIGHT,
            MORNING,
            MORNING + MICROSECOND,
        )
    ):
        end(session, run_of(etl, session, f"run_{number}"), at, extract="failed")
    twice = run_of(etl, session, "twice")
    end(session, twice, MORNING - 3 * DAY, extract="failed")
    end(session, twice, NIGHT, load="failed")
    row = found(session)["etl"]
    assert row.by_day == (1, 0, 0, 0, 1, 0, 3)
    assert row.this_week == 5
    assert row.dag_runs == 3


@pytest.mark.one_database
def test_a_time_longer_than_the_week(session, etl):
    end(session, run_of(etl, session, "run_1"), MORNING - 20 * DAY, extract="failed")
    row = found(session, FailedFilter(MORNING - 30 * DAY, MORNING))["etl"]
    assert (row.dag_runs, row.this_week, row.by_day) == (1, 0, (0,) * DAYS)


def test_the_latest_failure_comes_first(session):
    for dag_id, at in (("a", NIGHT), ("b", MORNING), ("c", NIGHT)):
        end(session, run_of(store_etl(session, dag_id, runs=0), session, "run_1"), at, extract="failed")
    assert list(found(session)) == ["b", "a", "c"]


def test_tags_narrow_and_a_tag_that_no_dag_has_finds_none(session):
    for dag_id, tags in (("a", ["daily", "x"]), ("b", ["daily"]), ("c", [])):
        dag = store_etl(session, dag_id, runs=0, tags=tags)
        end(session, run_of(dag, session, "run_1"), NIGHT, extract="failed")
    assert set(found(session, FailedFilter(NIGHT, MORNING, tags=("daily",)))) == {"a", "b"}
    assert set(found(session, FailedFilter(NIGHT, MORNING, tags=("x", "daily")))) == {"a", "b"}
    assert found(session, FailedFilter(NIGHT, MORNING, tags=("dayly",))) == {}
    assert failed_dags.tags_of(["a", "c"], session) == {"a": ("daily", "x")}


def test_a_stale_dag_says_so(session, etl):
    end(session, run_of(etl, session, "run_1"), NIGHT, extract="failed")
    session.get_one(DagModel, "etl").is_stale = True
    session.flush()
    assert found(session)["etl"].is_stale
