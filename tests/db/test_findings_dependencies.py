"""What a plan says of task instances around the cleared ones, compared with the scheduler."""

from __future__ import annotations

from collections import Counter
from itertools import combinations_with_replacement
from uuid import UUID

import pytest
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task, task_group
from airflow.task.trigger_rule import TriggerRule
from sqlalchemy import select

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.findings import affected_task_instances
from safe_clear_plugin.storage.tables import plan_relation, plan_task_instance
from tests.db.acting import clear, plan_of
from tests.db.finding_scenes import (
    chain,
    finding,
    one_run,
    store_with_runs,
)
from tests.support.factories import expand, make_run, set_states, store_dag, task_instances
from tests.support.options import chosen
from tests.support.scenes import START

pytestmark = pytest.mark.backend

RULES = [str(rule) for rule in TriggerRule]


def affected_keys(plan, code, session):
    """Return run, task and map index of the affected task instances, as many as the finding counts."""
    session.rollback()
    rows = affected_task_instances.affected_rows(code, UUID(plan.id), plan.dag_id, session)
    found = finding(plan, code)
    total = found.count if found else 0
    assert (
        len(rows)
        == total
        == affected_task_instances.count_affected(code, UUID(plan.id), plan.dag_id, session)
    )
    return [(row.run_id, row.task_id, row.map_index) for row in rows]


def predicted(plan, session):
    """Return the predicted states by run, task and map index."""
    session.rollback()
    rows = plan_task_instance
    result = session.execute(
        select(rows.c.run_id, rows.c.task_id, rows.c.map_index, rows.c.foreseen_state).where(
            rows.c.plan_id == UUID(plan.id), rows.c.foreseen_state.is_not(None)
        )
    )
    return {(row.run_id, row.task_id, row.map_index): row.foreseen_state for row in result}


def settled(plan, session, *, unexpanded=False):
    """Clear, let Airflow's scheduler decide a few times, and return the states that it set.

    ``unexpanded``: of the first time that it decides, before what it expands is looked at in its turn.
    """
    planned = keys(plan, session)
    clear(plan)
    states = {}
    for run_id in sorted({key[0] for key in planned}):
        session.rollback()
        run = session.scalars(
            select(DagRun).where(DagRun.dag_id == plan.dag_id, DagRun.run_id == run_id)
        ).one()
        run.dag = DBDagBag(load_op_links=False).get_dag_for_run(run, session=session)
        for _ in range(1 if unexpanded else 5):
            decision = run.task_instance_scheduling_decisions(session=session)
            for ti in decision.schedulable_tis:
                ti.state = "scheduled"
            session.flush()
        session.commit()
        states |= {
            (ti.run_id, ti.task_id, ti.map_index): str(ti.state)
            for ti in task_instances(run, session=session)
            if (ti.run_id, ti.task_id, ti.map_index) in planned
            and ti.state in ("upstream_failed", "skipped", "removed")
        }
    return states


def keys(plan, session):
    """Return run, task and map index of all that the plan clears."""
    session.rollback()
    rows = plan_task_instance
    result = session.execute(
        select(rows.c.run_id, rows.c.task_id, rows.c.map_index).where(rows.c.plan_id == UUID(plan.id))
    )
    return {tuple(row) for row in result}


# Downstream


@pytest.mark.one_database
def test_downstream_that_succeeded_goes_stale(session):
    """At any distance, in the plan's runs, and in this DAG alone."""
    store_with_runs(chain("bystander", "a", "b"), session, {"a": "success", "b": "success"})
    runs = store_with_runs(
        chain("etl", "a", "b", "c", "d"), session, dict.fromkeys("abcd", "success"), runs=3
    )
    plan = plan_of(Selection("etl", task_regex="^b$", run_id=("run_1", "run_3")))
    assert affected_keys(plan, "stale_downstream", session) == [
        ("run_1", "c", -1),
        ("run_1", "d", -1),
        ("run_3", "c", -1),
        ("run_3", "d", -1),
    ]
    found = finding(plan, "stale_downstream")
    assert found.level == "acknowledge"
    assert found.title == (
        "4 downstream task instances will go stale: `c` and `d` succeeded in 2 runs and are not in this plan"
    )
    assert found.widen == ("include_downstream",)
    assert finding(plan, "downstream_stays") is None
    wide = plan_of(one_run(runs[0], task_regex="^b$", include_downstream=True))
    assert finding(wide, "stale_downstream") is None


@pytest.mark.one_database
def test_downstream_without_success_stays(session):
    [run] = store_with_runs(
        chain("etl", "a", "b", "c", "d", "e"),
        session,
        {"a": "success", "b": "failed", "c": "upstream_failed", "d": "skipped", "e": None},
    )
    plan = plan_of(one_run(run, task_regex="^a$"))
    assert [task_id for _, task_id, _ in affected_keys(plan, "downstream_stays", session)] == ["b", "c", "d"]
    assert finding(plan, "stale_downstream") is None
    assert "1 Failed" in finding(plan, "downstream_stays").title


def test_a_filter_on_states_clears_other_tasks_in_other_runs(session):
    """Only what lies downstream of something cleared in the same run goes stale."""
    dag = chain("etl", "a", "b", "c")
    store_dag(dag, session=session)
    for number, failed in enumerate(("a", "b", None), start=1):
        run = make_run(dag, session=session, run_id=f"run_{number}", state="failed")
        set_states(run, {t: "failed" if t == failed else "success" for t in "abc"}, session=session)
    plan = plan_of(Selection("etl", state=("failed",), run_id=("run_1", "run_2", "run_3")))
    assert affected_keys(plan, "stale_downstream", session) == [
        ("run_1", "b", -1),
        ("run_1", "c", -1),
        ("run_2", "c", -1),
    ]


@pytest.mark.one_database
def test_running_task_instances_that_are_left_out_make_nothing_stale(session):
    [run] = store_with_runs(
        chain("etl", "a", "b", "c"), session, {"a": "running", "b": "success", "c": "success"}
    )
    plan = plan_of(one_run(run, task_regex="^(a|c)$"))
    assert finding(plan, "stale_downstream") is None
    ended = plan_of(one_run(run, task_regex="^(a|c)$", running="terminate"))
    assert affected_keys(ended, "stale_downstream", session) == [("run_1", "b", -1)]


@pytest.mark.one_database
def test_an_excluded_task_goes_stale(session):
    [run] = store_with_runs(chain("etl", "a", "b", "c"), session, dict.fromkeys("abc", "success"))
    plan = plan_of(one_run(run, exclude_task_id=("b",)))
    assert affected_keys(plan, "stale_downstream", session) == [("run_1", "b", -1)]


def test_setups_and_teardowns_carry_no_data(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        up = EmptyOperator(task_id="up").as_setup()
        first, second, aside = (EmptyOperator(task_id=name) for name in ("first", "second", "aside"))
        down = EmptyOperator(task_id="down").as_teardown(setups=up)
        _ = up >> first >> second >> down
        _ = up >> aside >> down
    [run] = store_with_runs(
        dag, session, dict.fromkeys(("up", "first", "second", "aside", "down"), "success")
    )
    plan = plan_of(one_run(run, task_regex="^first$"))
    assert affected_keys(plan, "stale_downstream", session) == [("run_1", "second", -1)]
    plan = plan_of(one_run(run, task_regex="^first$", exclude_task_id=("down", "up")))
    assert affected_keys(plan, "stale_downstream", session) == [("run_1", "second", -1)]


def mapped_dag():
    """Return ``groups.a >> groups.b`` mapped three times, then ``after``, and ``one`` mapped over nothing."""
    with DAG("etl", schedule=None, start_date=START) as dag:

        @task_group
        def groups(x):
            @task
            def a(x):
                return x

            @task
            def b(x):
                return x

            b(a(x))

        after = EmptyOperator(task_id="after")
        groups.expand(x=[1, 2, 3]) >> after
    return dag


@pytest.mark.one_database
def test_in_a_mapped_task_group_only_the_same_map_index_goes_stale(session):
    [run] = store_with_runs(
        mapped_dag(), session, {"groups.a": "success", "groups.b": "success", "after": "success"}
    )
    plan = plan_of(one_run(run, task_regex=r"^groups\.a$", map_index=1))
    assert affected_keys(plan, "stale_downstream", session) == [
        ("run_1", "after", -1),
        ("run_1", "groups.b", 1),
    ]
    plan = plan_of(one_run(run, task_regex=r"^groups\.a$"))
    assert len(affected_keys(plan, "stale_downstream", session)) == 4


def test_each_run_uses_the_relations_of_its_dag_version(session):
    """In version 1 ``c`` is downstream of ``a``; in version 2 it is not."""
    old = chain("etl", "a", "b", "c")
    store_dag(old, session=session, bundle_version="1")
    first = make_run(old, session=session, run_id="old", state="success", bundle_version="1")
    set_states(first, dict.fromkeys("abc", "success"), session=session)
    with DAG("etl", schedule=None, start_date=START) as new:
        _ = EmptyOperator(task_id="a") >> EmptyOperator(task_id="b")
        EmptyOperator(task_id="c")
    store_dag(new, session=session, bundle_version="2", new_version=True)
    second = make_run(new, session=session, run_id="new", state="success", bundle_version="2")
    set_states(second, dict.fromkeys("abc", "success"), session=session)
    plan = plan_of(Selection("etl", task_regex="^a$", run_id=("old", "new")))
    assert affected_keys(plan, "stale_downstream", session) == [
        ("old", "b", -1),
        ("old", "c", -1),
        ("new", "b", -1),
    ]
    found = finding(plan, "dag_version")
    assert (found.level, found.count) == ("info", 1)
    assert found.title == "1 run uses version 1: the latest is 2"
    assert finding(plan_of(Selection("etl", task_regex="^a$", run_id=("new",))), "dag_version") is None


@pytest.mark.one_database
def test_relations_are_stored_only_where_they_are_needed(session):
    [run] = store_with_runs(chain("etl", *"abcdef"), session, dict.fromkeys("abcdef", "success"))
    for selection, expected in (
        ({}, {}),
        ({"task_regex": "[ef]"}, {"upstream": 2}),
        ({"task_regex": "[de]"}, {"upstream": 2, "downstream": 1}),
    ):
        plan = plan_of(one_run(run, **selection))
        session.rollback()
        query = select(plan_relation.c.kind).where(plan_relation.c.plan_id == UUID(plan.id))
        assert Counter(session.scalars(query)) == expected


# Upstream

UPSTREAM_STATES = ("success", "failed", "upstream_failed", "skipped", "removed", None)
# Each rule is one SQL expression: on PostgreSQL the states that most rules distinguish are enough.
STATES_TRIED = ("success", "failed", "skipped") if chosen.postgresql and not chosen.full else UPSTREAM_STATES
PAIRS = list(combinations_with_replacement(STATES_TRIED, 2))


def test_every_trigger_rule_is_predicted_as_the_scheduler_decides(session):
    """A task of each rule under every pair of states upstream, and others under that, each pair in a run."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        left, right = EmptyOperator(task_id="left"), EmptyOperator(task_id="right")
        for rule in RULES:
            work = EmptyOperator(task_id=f"{rule}.work", trigger_rule=rule)
            _ = [left, right] >> work >> EmptyOperator(task_id=f"{rule}.after")
            _ = work >> EmptyOperator(task_id=f"{rule}.late", trigger_rule="none_failed_min_one_success")
            _ = [left, work] >> EmptyOperator(task_id=f"{rule}.both", trigger_rule="one_success")
    plan = all_pairs(dag, ("left", "right"), session, task_regex=r"\.")
    expected = predicted(plan, session)
    assert settled(plan, session) == expected
    counted = Counter(expected.values())
    assert min(counted["upstream_failed"], counted["skipped"]) > 4 * len(PAIRS)
    assert finding(plan, "upstream_failed").count == counted["upstream_failed"]
    assert finding(plan, "upstream_skipped").count == counted["skipped"]


def test_setups_are_predicted_as_the_scheduler_decides(session):
    """A setup two steps up counts before the trigger rule; one right above counts in rules about setups."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        up = EmptyOperator(task_id="up").as_setup()
        first = EmptyOperator(task_id="first", trigger_rule="all_done")
        down = EmptyOperator(task_id="down").as_teardown(setups=up)
        for rule in RULES:
            second = EmptyOperator(task_id=f"{rule}.second", trigger_rule=rule)
            third = EmptyOperator(task_id=f"{rule}.third", trigger_rule=rule)
            _ = up >> first >> second >> down
            _ = [up, first] >> third >> down
    plan = all_pairs(dag, ("up", "first"), session, task_regex=r"\.|down", exclude_task_id=("up",))
    expected = predicted(plan, session)
    assert len(expected) > 4 * len(PAIRS)
    assert "all_done_setup_success.third" in {task_id for _, task_id, _ in expected}
    assert settled(plan, session) == expected


def all_pairs(dag, upstream, session, **selection):
    """Store a run for each pair of states of the two upstream tasks, and plan a clear in all of them."""
    store_dag(dag, session=session)
    for number, pair in enumerate(PAIRS):
        run = make_run(dag, session=session, run_id=f"run_{number:02}", state="failed")
        set_states(run, dict(zip(upstream, pair, strict=True)), session=session)
    return plan_of(Selection("etl", date_from=START, **selection))


def test_a_mapped_task_group_is_predicted_as_the_scheduler_decides(session):
    """Each map index by its own upstream, what follows the group by all of them, at three sizes."""
    for rule in ("all_success", "one_success", "none_failed_min_one_success", "all_done"):
        with DAG(f"etl_{rule}", schedule=None, start_date=START) as dag:
            given = EmptyOperator(task_id="given")

            @task_group
            def group(x, rule=rule):
                first = EmptyOperator(task_id="first")
                second = EmptyOperator(task_id="second", trigger_rule=rule)
                _ = first >> second >> EmptyOperator(task_id="third")

            _ = given >> group.expand(x=[1, 2, 3]) >> EmptyOperator(task_id="after", trigger_rule=rule)
        store_dag(dag, session=session)
        states = ("success", "failed", "skipped")
        for number, triple in enumerate(combinations_with_replacement(states, 3)):
            run = make_run(dag, session=session, run_id=f"run_{number:02}", state="failed")
            of_index = {("group.first", index): state for index, state in enumerate(triple)}
            set_states(run, {"given": "success", "group.second": "failed", **of_index}, session=session)
        plan = plan_of(Selection(dag.dag_id, task_regex="second|third|after", date_from=START))
        expected = predicted(plan, session)
        assert bool(expected) == (rule != "all_done")
        assert settled(plan, session) == expected


def test_unexpanded_tasks_are_predicted_as_the_scheduler_decides(session):
    """Some rules go by every map index upstream until they are expanded, others expand without looking."""
    for rule in ("all_success", "one_success", "one_failed", "one_done"):
        with DAG(f"etl_{rule}", schedule=None, start_date=START) as dag:

            @task
            def numbers():
                return [1, 2]

            @task_group
            def group(x, rule=rule):
                _ = EmptyOperator(task_id="first") >> EmptyOperator(task_id="second", trigger_rule=rule)

            group.expand(x=numbers())
        store_dag(dag, session=session)
        for number, pair in enumerate(combinations_with_replacement(("success", "failed", "skipped"), 2)):
            run = make_run(dag, session=session, run_id=f"run_{number}", state="failed")
            set_states(run, {"numbers": "success"}, session=session)
            expand(run, "group.first", 2, session=session)
            of_index = {("group.first", index): state for index, state in enumerate(pair)}
            set_states(run, {"group.second": "upstream_failed", **of_index}, session=session)
        plan = plan_of(Selection(dag.dag_id, task_regex="second", date_from=START))
        expected = predicted(plan, session)
        assert all(map_index == -1 for _, _, map_index in keys(plan, session))
        assert settled(plan, session, unexpanded=True) == expected


def test_tasks_mapped_over_a_failure_are_predicted_as_the_scheduler_decides(session):
    """``all_done`` lets it start, but its mapping is not there."""
    with DAG("etl", schedule=None, start_date=START) as dag:

        @task
        def numbers():
            return [1, 2]

        @task(trigger_rule="all_done")
        def each(x):
            return x

        _ = each.expand(x=numbers()) >> EmptyOperator(task_id="after")
    store_dag(dag, session=session)
    for state in ("success", "failed", "skipped", "upstream_failed"):
        run = make_run(dag, session=session, run_id=f"run_{state}", state="failed")
        set_states(run, {"numbers": state, "each": "failed", "after": "failed"}, session=session)
        if state == "success":
            set_states(run, {"each": None}, session=session)
            expand(run, "each", 2, session=session)
            set_states(run, {("each", 0): "failed", ("each", 1): "success"}, session=session)
    plan = plan_of(Selection("etl", task_regex="each|after", date_from=START))
    expected = predicted(plan, session)
    assert {run_id for run_id, _, _ in expected} == {"run_failed", "run_skipped", "run_upstream_failed"}
    assert settled(plan, session) == expected


def test_a_task_that_the_latest_version_adds_passes_on_a_failure(session):
    """``b`` is created by the move between ``a``, which failed, and ``c``, which is cleared."""
    old = chain("etl", "a", "c")
    [run] = store_with_runs(old, session, {"a": "failed", "c": "upstream_failed"})
    store_dag(chain("etl", "a", "b", "c"), session=session, new_version=True)
    plan = plan_of(one_run(run, task_regex="^c$", run_on_latest_version=True))
    assert predicted(plan, session) == {
        (run.run_id, "b", -1): "upstream_failed",
        (run.run_id, "c", -1): "upstream_failed",
    }
    assert finding(plan, "upstream_failed").count == 1


def test_a_failed_upstream_task_that_is_cleared_too_is_no_failure(session):
    [run] = store_with_runs(
        chain("etl", "a", "b", "c"), session, {"a": "success", "b": "failed", "c": "upstream_failed"}
    )
    plan = plan_of(one_run(run, task_regex="^(b|c)$"))
    assert finding(plan, "upstream_failed") is None
    plan = plan_of(one_run(run, task_regex="^c$"))
    found = finding(plan, "upstream_failed")
    assert found.title == (
        "1 cleared task instance will fail immediately: its upstream `b` is Failed in 1 run and is not in "
        "this plan"
    )
    assert found.widen == ("include_upstream",)
    assert affected_keys(plan, "upstream_failed", session) == [("run_1", "c", -1)]


def test_a_run_that_stays_finished_predicts_nothing(session):
    [run] = store_with_runs(chain("etl", "a", "b"), session, {"a": "failed", "b": "upstream_failed"})
    plan = plan_of(one_run(run, task_regex="^b$", reset_dag_runs=False))
    assert finding(plan, "upstream_failed") is None


def test_unfinished_upstream_task_instances_are_waited_for(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        slow, quick = EmptyOperator(task_id="slow"), EmptyOperator(task_id="quick")
        _ = [slow, quick] >> EmptyOperator(task_id="all")
        _ = [slow, quick] >> EmptyOperator(task_id="one", trigger_rule="one_success")
        _ = quick >> EmptyOperator(task_id="other")
    [run] = store_with_runs(
        dag,
        session,
        {"slow": "running", "quick": "success", "all": "success", "one": "success", "other": "success"},
        state="running",
    )
    plan = plan_of(one_run(run, task_regex="all|one|other"))
    assert affected_keys(plan, "upstream_unfinished", session) == [("run_1", "all", -1)]
    assert "`slow` in 1 run" in finding(plan, "upstream_unfinished").title
    plan = plan_of(one_run(run))
    assert affected_keys(plan, "upstream_unfinished", session) == [("run_1", "all", -1)]
    plan = plan_of(one_run(run, running="terminate"))
    assert finding(plan, "upstream_unfinished") is None
