"""What a plan foresees where a trigger rule ends a task instance, and a decision skips it afterwards."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from uuid import UUID

import pytest
from airflow.api_fastapi.execution_api.datamodels.taskinstance import TISkippedDownstreamTasksStatePayload
from airflow.api_fastapi.execution_api.routes.task_instances import ti_skip_downstream
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, ShortCircuitOperator
from airflow.sdk import DAG
from sqlalchemy import select

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.findings import affected_task_instances
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.tables import plan_task_instance
from tests.db.acting import clear, plan_of
from tests.db.finding_scenes import finding
from tests.support.factories import make_run, set_states, store_dag, task_instances
from tests.support.options import every_other
from tests.support.scenes import START

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]

RULES = (
    "all_success",
    "all_failed",
    "all_done",
    "all_done_min_one_success",
    "one_success",
    "one_failed",
    "one_done",
    "none_failed",
    "none_skipped",
    "always",
    "none_failed_min_one_success",
    "all_skipped",
)
SKIPPED, EITHER = ("skipped", "latest_only"), ("unknown", "branch_or_failed")


def nothing():
    """Do nothing: no task of these tests runs."""


DECIDERS = {
    "latest": lambda: LatestOnlyOperator(task_id="decide"),
    "branch": lambda: BranchPythonOperator(task_id="decide", python_callable=nothing),
    "short": lambda: ShortCircuitOperator(task_id="decide", python_callable=nothing),
}


def scene(session, decider, *, rule="all_success", behind="all_success"):
    """``[decide, failed] >> work >> after``; ``other >> after``. All but ``failed`` is cleared."""
    with DAG("etl", schedule="@daily", start_date=START, catchup=True) as dag:
        failed, other = (EmptyOperator(task_id=task_id) for task_id in ("failed", "other"))
        work = EmptyOperator(task_id="work", trigger_rule=rule)
        _ = [DECIDERS[decider](), failed] >> work
        _ = [work, other] >> EmptyOperator(task_id="after", trigger_rule=behind)
    return old_run(dag, session, {"failed": "failed", "work": "upstream_failed"})


def old_run(dag, session, states):
    """Make a run of years ago, in which all else has succeeded."""
    store_dag(dag, session=session)
    run = make_run(dag, session=session, run_id="old", run_type="scheduled", logical_date=START)
    run.data_interval_start, run.data_interval_end = START, START + timedelta(days=1)
    set_states(run, dict.fromkeys(dag.task_dict, "success") | states, session=session)
    session.commit()
    return run


def all_but(run, *task_ids):
    return Selection(run.dag_id, run_id=(run.run_id,), exclude_task_id=task_ids)


def outcomes(plan, session):
    """Return outcome, or outcome and reason, by task."""
    session.rollback()
    rows = plan_task_instance
    query = select(rows).where(rows.c.plan_id == UUID(plan.id))
    return {
        row.task_id: row.outcome if row.outcome_reason is None else (row.outcome, row.outcome_reason)
        for row in session.execute(query)
    }


def play(plan, session, *, passes, skips=("work",), last=(), decider="decide"):
    """Clear, and let the scheduler go on. After some passes the decider runs, and skips as operators do.

    :param last: tasks that succeed only after that
    """
    clear(plan)
    run = session.scalars(select(DagRun).where(DagRun.dag_id == plan.dag_id)).one()
    run.dag = DBDagBag(load_op_links=False).get_dag_for_run(run, session=session)
    ran = set()
    for done in range(passes + 4):
        ready, _ = run.update_state(session=session, execute_callbacks=False)
        for ti in ready:
            ti.state = "scheduled" if ti.task_id in (decider, *last) else "success"
        ran |= {ti.task_id for ti in ready}
        session.flush()
        if done + 1 == passes:
            decide = next(ti for ti in task_instances(run, session=session) if ti.task_id == decider)
            if skips:
                payload = TISkippedDownstreamTasksStatePayload(tasks=[(task_id, -1) for task_id in skips])
                ti_skip_downstream(decide.id, payload, session)
            session.expire_all()
            decide.state = "success"
            session.flush()
        if done >= passes:
            for ti in task_instances(run, session=session):
                if ti.state == "scheduled":
                    ti.state = "success"
            session.flush()
    session.commit()
    states = {ti.task_id: str(ti.state) for ti in task_instances(run, session=session)}
    return {task_id: "runs" if task_id in ran else state for task_id, state in states.items()}


def fits(foreseen, came):
    """Whether a task instance came as foreseen; what is unknown leaves some ways open."""
    if isinstance(foreseen, str) or foreseen[0] != "unknown":
        return came == (foreseen if isinstance(foreseen, str) else foreseen[0])
    return (
        came
        in {
            "branch_decides_again": ("runs", "skipped"),
            "branch_or_failed": ("skipped", "upstream_failed"),
            "either_rule": ("skipped", "upstream_failed"),
            "upstream_open": ("runs", "skipped", "upstream_failed"),
        }[foreseen[1]]
    )


def test_a_latest_only_skips_what_has_failed_for_its_upstream(session):
    """``ti_skip_downstream`` passes over running, succeeded and failed ones only."""
    run = scene(session, "latest")
    plan = plan_of(all_but(run, "failed"))
    foreseen = outcomes(plan, session)
    assert foreseen == {"decide": "runs", "work": SKIPPED, "other": "runs", "after": EITHER}
    assert finding(plan, "latest_only_skips").count == 1
    listed = affected_task_instances.affected_rows("latest_only_skips", UUID(plan.id), "etl", session)
    assert [(row.task_id, row.foreseen_state) for row in listed] == [("work", "skipped")]
    came = play(plan, session, passes=3)
    assert (came["work"], came["after"]) == ("skipped", "upstream_failed")


def test_a_run_that_a_latest_only_lets_succeed_is_not_foreseen_to_fail(session):
    run = scene(session, "latest", behind="all_done")
    plan = plan_of(all_but(run, "failed"))
    assert outcomes(plan, session)["after"] == "runs"
    assert [one.outcome for one in plan_reader.runs(UUID(plan.id), session)] == ["runs"]
    assert play(plan, session, passes=3)["after"] == "runs"
    assert session.scalars(select(DagRun.state).where(DagRun.dag_id == "etl")).one() == "success"


@pytest.mark.parametrize("decider", ["branch", "short"])
def test_what_has_failed_behind_a_branch_that_decides_again_is_open(session, decider):
    run = scene(session, decider)
    plan = plan_of(all_but(run, "failed"))
    foreseen = outcomes(plan, session)
    assert (foreseen["work"], foreseen["after"]) == (EITHER, EITHER)
    assert [one.outcome for one in plan_reader.runs(UUID(plan.id), session)] == ["unknown"]
    assert finding(plan, "upstream_failed").count == 2


@pytest.mark.one_database
@pytest.mark.parametrize("skips", [("work",), ()])
def test_a_branch_overrules_or_leaves_what_has_failed(session, skips):
    run = scene(session, "branch")
    plan = plan_of(all_but(run, "failed"))
    came = play(plan, session, passes=1, skips=skips)
    assert came["work"] == ("skipped" if skips else "upstream_failed")


def rules_scene(session, decider):
    """``[decide, failed] >> work``, and behind ``work`` and ``other`` a task for each trigger rule."""
    with DAG("etl", schedule="@daily", start_date=START, catchup=True) as dag:
        failed, other, work = (EmptyOperator(task_id=task_id) for task_id in ("failed", "other", "work"))
        _ = [DECIDERS[decider](), failed] >> work
        for rule in RULES:
            _ = [work, other] >> EmptyOperator(task_id=rule, trigger_rule=rule)
    return old_run(dag, session, {"failed": "failed", "work": "upstream_failed"})


@pytest.mark.one_database
@pytest.mark.parametrize("decider", ["latest", "branch"])
def test_what_is_behind_it_follows_by_its_trigger_rule(session, decider):
    """Whether the next pass of the scheduler comes before the decision depends on how busy it is."""
    ends = {rule: set() for rule in RULES}
    for passes, last in product((1, 2, 3), ((), ("other",))):
        session.rollback()
        for run in session.scalars(select(DagRun).where(DagRun.dag_id == "etl")):
            session.delete(run)
        session.commit()
        plan = plan_of(all_but(rules_scene(session, decider), "failed"))
        foreseen = outcomes(plan, session)
        came = play(plan, session, passes=passes, last=last)
        for rule in RULES:
            ends[rule].add(came[rule])
            assert fits(foreseen[rule], came[rule]), (rule, foreseen[rule], ends[rule])
    if decider == "latest":
        # What is open came in more than one way.
        several = {rule for rule in RULES if len(ends[rule]) > 1}
        assert several == {rule for rule in RULES if foreseen[rule][0] == "unknown"}


@pytest.mark.one_database
def test_a_mapped_task_instance_keeps_the_state_of_its_rule(session):
    """An operator skips by map index -1: what is expanded it does not reach."""
    with DAG("etl", schedule="@daily", start_date=START, catchup=True) as dag:
        failed = EmptyOperator(task_id="failed")
        work = EmptyOperator.partial(task_id="work").expand(doc_md=["a", "b"])
        _ = [DECIDERS["latest"](), failed] >> work
    run = old_run(dag, session, {"failed": "failed", "work": "upstream_failed"})
    plan = plan_of(all_but(run, "failed"))
    assert outcomes(plan, session)["work"] == ("upstream_failed", "trigger_rule")
    assert play(plan, session, passes=2)["work"] == "upstream_failed"


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("rule", "ready"),
    every_other(("always", "one_success", "one_done", "one_failed"), ("success", "failed", "skipped")),
)
def test_what_need_not_wait_for_a_latest_only_may_start_before_it(session, rule, ready):
    with DAG("etl", schedule="@daily", start_date=START, catchup=True) as dag:
        first = EmptyOperator(task_id="first")
        _ = [DECIDERS["latest"](), first] >> EmptyOperator(task_id="work", trigger_rule=rule)
    run = old_run(dag, session, {"first": ready})
    plan = plan_of(all_but(run, "first"))
    early = {"one_success": ("success",), "one_done": ("success", "failed"), "one_failed": ("failed",)}
    starts = ready in early.get(rule, ("success", "failed", "skipped"))
    foreseen = outcomes(plan, session)["work"]
    assert foreseen == (("unknown", "branch_decides_again") if starts else SKIPPED)
    assert play(plan, session, passes=2)["work"] == ("runs" if starts else "skipped")


@pytest.mark.one_database
@pytest.mark.parametrize("behind", ["all_success", "none_failed", "all_done"])
@pytest.mark.parametrize("skips", [("work",), ()])
def test_what_fails_later_behind_a_branch_is_open_too(session, behind, skips):
    """``last`` is skipped once ``first`` has succeeded; then nothing upstream of ``fails`` has."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        failed, first = (EmptyOperator(task_id=task_id) for task_id in ("failed", "first"))
        last = EmptyOperator(task_id="last", trigger_rule="one_failed")
        fails = EmptyOperator(task_id="fails", trigger_rule="one_success")
        work = EmptyOperator(task_id="work")
        _ = first >> last >> fails >> work >> EmptyOperator(task_id="after", trigger_rule=behind)
        _ = failed >> fails
        _ = DECIDERS["branch"]() >> work
    run = old_run(dag, session, {"failed": "failed"})
    plan = plan_of(all_but(run, "failed"))
    foreseen = outcomes(plan, session)
    after = {"all_success": EITHER, "none_failed": ("unknown", "upstream_open"), "all_done": "runs"}[behind]
    assert (foreseen["fails"], foreseen["work"]) == (("upstream_failed", "trigger_rule_later"), EITHER)
    assert foreseen["after"] == after
    for passes in (1, 6):
        session.rollback()
        if passes == 6:
            session.delete(session.scalars(select(DagRun).where(DagRun.dag_id == "etl")).one())
            session.commit()
            plan = plan_of(all_but(old_run(dag, session, {"failed": "failed"}), "failed"))
        came = play(plan, session, passes=passes, skips=skips)
        assert all(fits(foreseen[task_id], came[task_id]) for task_id in foreseen), (foreseen, came)


@pytest.mark.one_database
@pytest.mark.parametrize("skips", ["decide", "work"])
@pytest.mark.parametrize("rule", ["all_success", "none_failed", "all_done", "none_failed_min_one_success"])
def test_a_latest_only_that_a_branch_may_skip_skips_nothing_for_certain(session, rule, skips):
    """Skipped itself, it leaves the decision of its last run: to go on."""
    with DAG("etl", schedule="@daily", start_date=START, catchup=True) as dag:
        choose = BranchPythonOperator(task_id="choose", python_callable=nothing)
        _ = choose >> DECIDERS["latest"]() >> EmptyOperator(task_id="work", trigger_rule=rule)
    run = old_run(dag, session, {})
    XComModel.set(
        key="skipmixin_key",
        value={"followed": ["work"]},
        dag_id="etl",
        task_id="decide",
        run_id="old",
        map_index=-1,
        session=session,
    )
    session.commit()
    plan = plan_of(all_but(run))
    foreseen = outcomes(plan, session)["work"]
    # The first one that skips is the branch.
    came = play(plan, session, passes=2, skips=(skips,), decider="choose" if skips == "decide" else "decide")
    assert fits(foreseen, came["work"]), (foreseen, came)
    assert foreseen == (SKIPPED if rule == "all_success" else ("unknown", "branch_decides_again"))
