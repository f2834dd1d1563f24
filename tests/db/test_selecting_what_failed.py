"""Selecting task instances by the time of their failure, alone and with their relatives in each run."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, setup, task, task_group, teardown
from sqlalchemy import select

from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.live_preview.selection_preview import preview_selection
from safe_clear_plugin.storage.tables import plan_task_instance
from tests.db.acting import plan_of
from tests.support.factories import expand, make_run, set_states, store_dag
from tests.support.scenes import START, store_etl

pytestmark = [pytest.mark.backend, pytest.mark.driver, pytest.mark.airflow32]

NIGHT = datetime(2026, 3, 1, 2, tzinfo=timezone.utc)
MORNING = NIGHT + timedelta(hours=2)
MICROSECOND = timedelta(microseconds=1)


def selection(**fields):
    return Selection("etl", **{"failed_from": NIGHT, "failed_to": MORNING, **fields})


def taken(session, **fields):
    """Return run, task, map index and why of all that the plan has."""
    return rows_of(plan_of(selection(**fields)), session)


def rows_of(plan, session):
    rows = plan_task_instance
    query = select(rows.c.run_id, rows.c.task_id, rows.c.map_index, rows.c.why)
    found = session.execute(query.where(rows.c.plan_id == UUID(plan.id))).all()
    return {(row.run_id, row.task_id, row.map_index): row.why for row in found}


def end(session, run, at, **states):
    """Put task instances of a run into states in which they ended at a moment."""
    set_states(run, states, session=session, end_date=at)


@pytest.fixture
def runs(session):
    """Three runs of extract >> transform >> load that succeeded long ago."""
    dag = store_etl(session, runs=0)
    return [
        make_run(
            dag, session=session, logical_date=START.replace(day=day), run_id=f"run_{day}",
            task_state="success", state="failed",
        )
        for day in (1, 2, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("at", "is_in"),
    [(NIGHT - MICROSECOND, False), (NIGHT, True), (MORNING, True), (MORNING + MICROSECOND, False)],
    ids=["just before", "first moment", "last moment", "just after"],
)
def test_both_edges_of_the_time_are_in_it(session, runs, at, is_in):
    end(session, runs[0], at, transform="failed")
    end(session, runs[1], NIGHT, transform="failed")
    assert (("run_1", "transform", -1) in taken(session)) is is_in


def test_what_is_not_failed_any_more_or_has_no_end_is_left_alone(session, runs):
    end(session, runs[0], NIGHT, extract="success", transform="failed", load="skipped")
    end(session, runs[1], NIGHT, extract="removed", transform="up_for_retry")
    end(session, runs[2], None, transform="failed", load="upstream_failed")
    assert taken(session) == {("run_1", "transform", -1): "failed"}


def test_a_run_without_a_logical_date_is_found(session, runs):
    run = make_run(store_etl(session, runs=0), session=session, run_id="asset", run_type="asset_triggered")
    end(session, run, NIGHT, transform="failed")
    assert set(taken(session)) == {("asset", "transform", -1)}
    with pytest.raises(Invalid, match="still Failed"):
        plan_of(selection(date_from=START))


@pytest.mark.parametrize("bounds", [{"failed_to": None}, {"failed_from": None}])
def test_one_bound_is_enough(session, runs, bounds):
    end(session, runs[0], NIGHT, transform="failed")
    assert set(taken(session, **bounds)) == {("run_1", "transform", -1)}


@pytest.mark.one_database
def test_downstream_is_that_of_each_run(session, runs):
    end(session, runs[0], NIGHT, transform="failed")
    end(session, runs[1], NIGHT, load="failed")
    end(session, runs[2], NIGHT - timedelta(hours=1), extract="failed", transform="upstream_failed")
    assert taken(session, include_downstream=True) == {
        ("run_1", "transform", -1): "failed",
        ("run_1", "load", -1): "downstream of transform",
        ("run_2", "load", -1): "failed",
    }


@pytest.mark.one_database
def test_upstream_is_that_of_each_run(session, runs):
    end(session, runs[0], NIGHT, transform="failed")
    end(session, runs[1], NIGHT, extract="failed")
    assert taken(session, include_upstream=True) == {
        ("run_1", "transform", -1): "failed",
        ("run_1", "extract", -1): "upstream of transform",
        ("run_2", "extract", -1): "failed",
    }


def test_downstream_comes_along_although_it_has_no_end(session, runs):
    """``TaskMap.expand_mapped_task`` gives no end date; a clear leaves that of an earlier try."""
    end(session, runs[0], NIGHT, extract="failed")
    end(session, runs[0], None, transform="upstream_failed")
    end(session, runs[0], NIGHT - timedelta(days=7), load="upstream_failed")
    found = taken(session, include_downstream=True)
    assert {key[1] for key in found} == {"extract", "transform", "load"}


def test_a_regex_decides_what_failed_not_what_comes_along(session, runs):
    end(session, runs[0], NIGHT, transform="failed")
    end(session, runs[1], NIGHT, load="failed")
    assert taken(session, task_regex="^transform$", include_downstream=True) == {
        ("run_1", "transform", -1): "matched",
        ("run_1", "load", -1): "downstream of transform",
    }


def test_a_state_filters_what_comes_along_too(session, runs):
    end(session, runs[0], NIGHT, extract="failed", transform="upstream_failed")
    found = taken(session, state=("failed", "upstream_failed"), include_downstream=True)
    assert {key[1] for key in found} == {"extract", "transform"}
    assert {key[1] for key in taken(session, state=("failed",), include_downstream=True)} == {"extract"}


def test_runs_and_dates_narrow(session, runs):
    for run in runs:
        end(session, run, NIGHT, transform="failed")
    assert {key[0] for key in taken(session, run_id=("run_2",))} == {"run_2"}
    assert {key[0] for key in taken(session, date_from=START.replace(day=2))} == {"run_2", "run_3"}
    assert {key[0] for key in taken(session, exclude_run_id=("run_2",))} == {"run_1", "run_3"}
    assert {key[0] for key in taken(session, date_from=START.replace(day=2), include_past=True)} == {
        "run_1", "run_2", "run_3",
    }  # fmt: skip


@pytest.mark.one_database
def test_setups_and_teardowns_of_what_comes_along(session):
    with DAG("etl", schedule=None, start_date=START) as dag:

        @setup
        def up():
            pass

        @teardown
        def down():
            pass

        work, first = EmptyOperator(task_id="work"), EmptyOperator(task_id="first")
        cluster, gone = up(), down()
        first >> cluster >> work >> gone
        cluster >> gone
    store_dag(dag, session=session)
    run = make_run(
        dag, session=session, logical_date=START, run_id="run_1", task_state="success", state="failed"
    )
    end(session, run, NIGHT, first="failed")
    assert {key[1] for key in taken(session)} == {"first"}
    end(session, run, START, first="success")
    end(session, run, NIGHT, work="failed")
    assert {key[1] for key in taken(session)} == {"work"}
    for regex in ("", "^work$"):
        found = taken(session, include_setups=True, task_regex=regex)
        assert {key[1] for key in found} == {"up", "work", "down"}, regex
        found = taken(session, include_setups=True, include_downstream=True, task_regex=regex)
        assert {key[1] for key in found} == {"up", "work", "down"}, regex


@pytest.mark.parametrize(
    ("direction", "failed", "expected"),
    [
        ("include_downstream", "up", {"up", "b", "after_b", "down"}),
        ("include_upstream", "down", {"up", "before_b", "b", "down"}),
    ],
)
def test_a_setup_or_teardown_that_failed_too_brings_no_siblings(direction, failed, expected, session):
    with DAG("etl", schedule=None, start_date=START) as dag:

        @setup
        def up():
            pass

        @teardown
        def down():
            pass

        cluster, gone = up(), down()
        cluster >> gone
        for name in ("a", "b"):
            before, work, after = (
                EmptyOperator(task_id=task_id) for task_id in (f"before_{name}", name, f"after_{name}")
            )
            cluster >> before >> work >> after >> gone
    store_dag(dag, session=session)
    run = make_run(
        dag, session=session, logical_date=START, run_id="run_1", task_state="success", state="failed"
    )
    end(session, run, NIGHT, b="failed", **{failed: "failed"})
    found = taken(session, task_regex="^b$", **{direction: True})
    assert {key[1] for key in found} - expected == set()
    assert {"b", *(expected - {"up", "down"})} <= {key[1] for key in found}


@pytest.fixture
def mapped(session):
    """A run whose mapped task group each(first >> second) of 3 leads to after."""
    with DAG("etl", schedule=None, start_date=START) as dag:

        @task
        def source():
            return [1, 2, 3]

        @task_group(group_id="each")
        def each(value):
            @task
            def first(value):
                return value

            @task
            def second(value):
                return value

            second(first(value))

        each.expand(value=source()) >> EmptyOperator(task_id="after")
    store_dag(dag, session=session)
    run = make_run(dag, session=session, logical_date=START, run_id="run_1", state="failed")
    expand(run, "each", 3, session=session)
    end(session, run, START, **dict.fromkeys(dag.task_ids, "success"))
    return run


@pytest.mark.one_database
def test_a_mapped_task_group_is_followed_at_its_map_index(session, mapped):
    set_states(mapped, {("each.first", 1): "failed"}, session=session, end_date=NIGHT)
    assert taken(session, include_downstream=True) == {
        ("run_1", "each.first", 1): "failed",
        ("run_1", "each.second", 1): "downstream of each.first",
        ("run_1", "after", -1): "downstream of each.first",
    }


@pytest.mark.one_database
def test_what_all_runs_share_brings_every_map_index(session, mapped):
    set_states(mapped, {"source": "failed", ("each.first", 1): "failed"}, session=session, end_date=NIGHT)
    assert len(taken(session, include_downstream=True)) == 8


def test_what_running_task_instances_do(session, runs):
    end(session, runs[0], NIGHT, extract="failed")
    set_states(runs[0], {"transform": "running"}, session=session)
    plan = plan_of(selection(include_downstream=True))
    assert plan.task_instances == 2
    assert plan_of(selection(include_downstream=True, running="terminate")).task_instances == 3


def test_the_live_count_is_that_of_what_failed(session, runs):
    end(session, runs[0], NIGHT, transform="failed", load="upstream_failed")
    end(session, runs[1], NIGHT, extract="failed")
    end(session, runs[2], START, extract="failed")
    for fields in ({}, {"include_downstream": True}, {"include_setups": True}):
        found = preview_selection(selection(**fields), MORNING)
        assert not found.problems
        assert found.dag_runs == 2, fields
        assert found.counts.found.states == {"failed": 2, "upstream_failed": 1}, fields
        assert found.counts.cleared_runs == 2, fields
    assert plan_of(selection()).task_instances == 3


@pytest.mark.one_database
def test_nothing_failed_or_the_times_are_the_wrong_way_round(session, runs):
    with pytest.raises(Invalid, match="still Failed") as nothing:
        plan_of(selection())
    assert [problem.field for problem in nothing.value.problems] == ["failed_from"]
    with pytest.raises(Invalid, match="later than") as swapped:
        plan_of(selection(failed_from=MORNING, failed_to=NIGHT))
    assert [problem.field for problem in swapped.value.problems] == ["failed_to"]


@pytest.mark.one_database
def test_a_later_failure_is_not_in_a_plan_that_is_made_again(session, runs):
    end(session, runs[0], NIGHT, transform="failed")
    first = plan_of(selection(include_downstream=True))
    end(session, runs[1], MORNING + MICROSECOND, transform="failed")
    again = plan_of(Selection.from_json(first.selection.to_json()))
    assert rows_of(first, session) == rows_of(again, session)
