"""One map index through a mapped task group, in one dag run and in several."""

from __future__ import annotations

from uuid import UUID

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, setup, task, task_group, teardown
from sqlalchemy import select

from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.tables import plan_task_instance
from tests.db.acting import clear, days, plan_of, undo
from tests.support.factories import expand, make_run, set_states, store_dag, task_instances
from tests.support.scene_cache import write_scene
from tests.support.scenes import START

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]

GROUP = r"^each\."


@pytest.fixture(autouse=True)
def history(session):
    """Three runs of a task, a mapped group of 3 that holds another group, one behind it and one beside it."""
    write_scene(("a mapped group",), session, lambda: write_history(session))


def write_history(session):
    with DAG("etl", schedule=None, start_date=START) as dag:

        @task
        def source():
            return [1, 2, 3]

        @task_group(group_id="each")
        def each(value):
            @task
            def first(value):
                return value

            @task_group(group_id="inner")
            def inner(value):
                @task
                def second(value):
                    return value

                return second(value)

            @task
            def third(value):
                return value

            third(inner(first(value)))

        each.expand(value=source()) >> EmptyOperator(task_id="after")

        @task
        def beside(value):
            return value

        beside.expand(value=[1, 2, 3])
    store_dag(dag, session=session)
    for number in (1, 2, 3):
        date = START.replace(day=number)
        run = make_run(dag, session=session, run_id=f"run_{number}", logical_date=date, state="failed")
        expand(run, "each", 3, session=session)
        states = dict.fromkeys((ti.task_id for ti in task_instances(run, session=session)), "success")
        set_states(run, states, session=session)


def planned(selection, session):
    """Return what a plan clears, by run, as ``task[index]``."""
    plan = plan_of(selection)
    rows = plan_task_instance
    found = session.execute(select(rows).where(rows.c.plan_id == UUID(plan.id))).all()
    session.rollback()
    by_run: dict[str, set[str]] = {}
    for row in found:
        by_run.setdefault(row.run_id, set()).add(f"{row.task_id}[{row.map_index}]")
    return by_run


INSIDE = {"each.first[1]", "each.inner.second[1]", "each.third[1]"}


@pytest.mark.parametrize("last", [1, 3])
def test_an_index_goes_through_the_group_in_each_run(session, last):
    expected = {f"run_{number}": INSIDE for number in range(1, last + 1)}
    assert planned(days(1, last, task_regex=GROUP, map_index=1), session) == expected
    run_ids = tuple(expected)
    assert planned(Selection("etl", run_id=run_ids, task_regex=GROUP, map_index=1), session) == expected


@pytest.mark.parametrize("runs", [("run_1",), ("run_1", "run_2")])
def test_downstream_beyond_the_group_only_where_it_is_asked_for(session, runs):
    chosen = Selection("etl", run_id=runs, task_regex=GROUP, map_index=1, include_downstream=True)
    assert planned(chosen, session) == dict.fromkeys(runs, INSIDE | {"after[-1]"})


@pytest.mark.parametrize("runs", [("run_1",), ("run_1", "run_2")])
def test_relatives_within_the_group_keep_the_index(session, runs):
    chosen = Selection("etl", run_id=runs, task_regex=r"^each\.(first|inner)", map_index=2)
    matched = {"each.first[2]", "each.inner.second[2]"}
    assert planned(chosen, session) == dict.fromkeys(runs, matched)
    spread = Selection(
        "etl",
        run_id=runs,
        task_regex=r"^each\.(inner|third)",
        map_index=2,
        include_upstream=True,
    )
    whole = {"each.first[2]", "each.inner.second[2]", "each.third[2]", "source[-1]"}
    assert planned(spread, session) == dict.fromkeys(runs, whole)


def test_the_reason_says_the_index_and_the_task(session):
    chosen = Selection("etl", run_id=("run_1",), task_regex=GROUP, map_index=1, include_downstream=True)
    plan = plan_of(chosen)
    rows = plan_task_instance
    why = dict(
        session.execute(select(rows.c.task_id, rows.c.why).where(rows.c.plan_id == UUID(plan.id))).all()
    )
    assert why["each.first"] == "matched"
    assert why["after"] == "downstream of each.first [1]"


@pytest.mark.parametrize("regex", ["each|beside", "each|after", "^(source|each.first)$"])
def test_tasks_that_share_no_mapped_task_group_are_refused(regex):
    with pytest.raises(Invalid, match="one task or one mapped task group") as refused:
        plan_of(days(1, 3, task_regex=regex, map_index=1))
    assert refused.value.problems[0].field == "map_index"


def test_an_index_of_the_group_is_cleared_and_undone(session):
    plan = clear(days(1, 3, task_regex=GROUP, map_index=0))
    assert (plan.cleared, plan.cleared_runs) == (9, 3)
    assert undo(plan).put_back == 9


def test_a_setup_in_the_group_keeps_the_index_and_one_outside_comes_along(session):
    with DAG("tests", schedule=None, start_date=START) as dag:

        @setup
        @task
        def cluster():
            return 1

        @teardown
        @task
        def gone(value):
            return value

        @task_group(group_id="each")
        def each(value):
            @setup
            @task
            def open_it(value):
                return value

            @task
            def work(value):
                return value

            @task
            def more(value):
                return value

            open_it(value) >> work(value) >> more(value)

        made = cluster()
        group = each.expand(value=[1, 2])
        made >> group >> gone(made)
    store_dag(dag, session=session)
    for number in (1, 2):
        date = START.replace(day=number)
        run = make_run(dag, session=session, run_id=f"run_{number}", logical_date=date, state="success")
        states = dict.fromkeys((ti.task_id for ti in task_instances(run, session=session)), "success")
        set_states(run, states, session=session)
    for run_ids in (("run_1",), ("run_1", "run_2")):
        chosen = Selection("tests", run_id=run_ids, task_regex=r"work$|more$", map_index=1)
        found = planned(chosen, session)
        for taken in found.values():
            assert {one for one in taken if one.startswith("each.")} == {
                "each.open_it[1]",
                "each.work[1]",
                "each.more[1]",
            }
            assert {one for one in taken if not one.startswith("each.")} == {"cluster[-1]", "gone[-1]"}
