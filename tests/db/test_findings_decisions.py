"""What a plan foresees of branches, short circuits, persons and stored state, compared with the scheduler."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from uuid import UUID

import pytest
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, ShortCircuitOperator
from airflow.sdk import DAG, task_group
from airflow.timetables.base import DataInterval
from sqlalchemy import select

from safe_clear_plugin.airflow_api.scheduling import latest_only
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.findings import affected_task_instances
from safe_clear_plugin.storage.tables import plan_task_instance
from tests.db.acting import clear, plan_of
from tests.db.finding_scenes import finding, one_run
from tests.support.factories import (
    hitl_detail,
    make_run,
    serialized,
    set_states,
    store_dag,
    task_instances,
)
from tests.support.options import every_other
from tests.support.scenes import START

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]


def nothing():
    """Do nothing: no task of these tests runs."""


def empty(*task_ids, **options):
    return [EmptyOperator(task_id=task_id, **options) for task_id in task_ids]


def branching(*, rule="none_failed_min_one_success", decider="branch"):
    """``start >> branch >> [left, right] >> join``, and ``after`` behind it."""
    kinds = {"branch": BranchPythonOperator, "short": ShortCircuitOperator}
    with DAG("etl", schedule=None, start_date=START) as dag:
        start, left, right, after = empty("start", "left", "right", "after")
        choose = kinds[decider](task_id="choose", python_callable=nothing)
        join = EmptyOperator(task_id="join", trigger_rule=rule)
        _ = start >> choose >> [left, right] >> join >> after
    return dag


def decide(run, session, value, task_id="choose", map_index=-1):
    """Leave a decision as ``SkipMixin`` does."""
    XComModel.set(
        key="skipmixin_key",
        value=value,
        dag_id=run.dag_id,
        task_id=task_id,
        run_id=run.run_id,
        map_index=map_index,
        session=session,
    )
    session.commit()


def a_run(dag, session, states, **options):
    store_dag(dag, session=session)
    run = make_run(dag, session=session, run_id="run_1", **options)
    set_states(run, states, session=session)
    return run


FOLLOWED_LEFT = {
    "start": "success",
    "choose": "success",
    "left": "success",
    "right": "skipped",
    "join": "success",
    "after": "success",
}


def outcomes(plan, session):
    """Return outcome and reason by task and map index; a run is one."""
    session.rollback()
    rows = plan_task_instance
    query = select(rows).where(rows.c.plan_id == UUID(plan.id))
    found = {}
    for row in session.execute(query):
        key = row.task_id if row.map_index < 0 else (row.task_id, row.map_index)
        found[key] = row.outcome if row.outcome_reason is None else (row.outcome, row.outcome_reason)
    return found


def affected(plan, code, session):
    """Return the tasks behind a finding with what causes it; as many as the finding counts."""
    session.rollback()
    rows = affected_task_instances.affected_rows(code, UUID(plan.id), plan.dag_id, session)
    assert len(rows) == finding(plan, code).count
    return {(row.task_id, row.map_index): row.related_task_id for row in rows}


def settled(plan, session, *, succeeds=()):
    """Clear, let the scheduler go on until nothing moves, and return the states that it leaves."""
    clear(plan)
    run = session.scalars(select(DagRun).where(DagRun.dag_id == plan.dag_id)).one()
    run.dag = DBDagBag(load_op_links=False).get_dag_for_run(run, session=session)
    for _ in range(12):
        ready, _ = run.update_state(session=session, execute_callbacks=False)
        for ti in ready:
            ti.state = "success" if ti.task_id in succeeds else "scheduled"
        session.flush()
    session.commit()
    return {
        ti.task_id if ti.map_index < 0 else (ti.task_id, ti.map_index): str(ti.state)
        for ti in task_instances(run, session=session)
    }


# Earlier decisions


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("decision", "parent"),
    every_other(
        [
            ({"followed": ["left"]}, True),
            ({"followed": ["left", "right"]}, False),
            ({"followed": []}, True),
            ({"skipped": ["right", "join"]}, True),
            ({"skipped": ["left"]}, False),
            (None, False),
        ],
        ["success", "running", "failed", "skipped", None, "removed"],
    ),
)
def test_a_decision_stands_where_its_task_has_finished(session, decision, parent):
    value, skipped = decision
    run = a_run(
        branching(), session, {**FOLLOWED_LEFT, "right": "success", "choose": parent}, state="running"
    )
    if value is not None:
        decide(run, session, value)
    plan = plan_of(one_run(run, task_regex="^right$"))
    ended = parent in ("success", "failed", "skipped", "removed")
    foreseen = outcomes(plan, session)["right"]
    came = settled(plan, session)["right"]
    if skipped and ended and parent in ("success", "removed"):
        assert (foreseen, came) == (("skipped", "already_skipped"), "skipped")
    elif not ended:
        assert (foreseen, came) == (("unknown", "branch_decides_again"), "None")
    else:
        states = {"runs": {"scheduled"}, "skipped": {"skipped"}, "upstream_failed": {"upstream_failed"}}
        outcome = foreseen if isinstance(foreseen, str) else foreseen[0]
        either = {"skipped", "upstream_failed"}
        assert came in (either if outcome == "unknown" else states[outcome])


def test_an_earlier_decision_is_found_with_a_way_out(session):
    run = a_run(branching(), session, FOLLOWED_LEFT)
    decide(run, session, {"followed": ["left"]})
    plan = plan_of(one_run(run, task_regex="^right$"))
    found = finding(plan, "already_skipped")
    assert (found.level, found.count) == ("warn", 1)
    assert "will be skipped immediately by an earlier decision: `right` in 1 run" in found.title
    assert affected(plan, "already_skipped", session) == {("right", -1): "choose"}
    assert finding(plan, "upstream_skipped") is None
    wide = plan_of(one_run(run, task_regex="^right$", include_upstream=True))
    assert finding(wide, "already_skipped") is None
    assert outcomes(wide, session)["right"] == ("unknown", "branch_decides_again")
    assert settled(wide, session, succeeds=("start",))["choose"] == "scheduled"


def test_a_success_that_a_decision_takes_away_is_acknowledged(session):
    run = a_run(branching(), session, {**FOLLOWED_LEFT, "right": "success"})
    decide(run, session, {"followed": ["left"]})
    assert finding(plan_of(one_run(run, task_regex="^right$")), "already_skipped").level == "acknowledge"


def test_a_chosen_branch_runs(session):
    run = a_run(branching(), session, FOLLOWED_LEFT)
    decide(run, session, {"followed": ["left"]})
    plan = plan_of(one_run(run, task_regex="^(left|join|after)$"))
    assert outcomes(plan, session) == {"left": "runs", "join": "runs", "after": "runs"}
    assert {"already_skipped", "branch_decides_again"}.isdisjoint(f.code for f in plan.findings)
    came = settled(plan, session, succeeds=("left", "join", "after"))
    assert {came[task_id] for task_id in ("left", "join", "after")} == {"success"}


@pytest.mark.one_database
@pytest.mark.parametrize("rule", ["all_success", "none_failed_min_one_success", "all_done", "one_success"])
def test_what_is_behind_a_decision_follows_by_its_trigger_rule(session, rule):
    """Both branches are cleared, and the decision was to follow neither."""
    run = a_run(branching(rule=rule), session, {**FOLLOWED_LEFT, "left": "skipped", "join": "skipped"})
    decide(run, session, {"followed": []})
    plan = plan_of(one_run(run, task_regex="^(left|right|join|after)$"))
    came = settled(plan, session, succeeds=("join", "after"))
    for task_id, foreseen in outcomes(plan, session).items():
        expected = "success" if foreseen == "runs" else foreseen[0]
        assert came[task_id] == expected, task_id
    assert came["join"] == ("success" if rule == "all_done" else "skipped")


@pytest.mark.one_database
def test_a_decision_and_a_failure_in_one_pass_leave_it_open(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        [failed, work, after] = empty("failed", "work", "after")
        choose = BranchPythonOperator(task_id="choose", python_callable=nothing)
        _ = [failed, choose] >> work >> after
    run = a_run(
        dag, session, {"failed": "failed", "choose": "success", "work": "skipped", "after": "skipped"}
    )
    decide(run, session, {"followed": []})
    plan = plan_of(one_run(run, task_regex="^(work|after)$"))
    assert outcomes(plan, session) == {
        "work": ("unknown", "either_rule"),
        "after": ("unknown", "either_rule"),
    }
    came = settled(plan, session)
    assert came["work"] in ("skipped", "upstream_failed")
    assert came["after"] == came["work"]


@pytest.mark.one_database
def test_a_failure_that_comes_later_is_too_late_for_a_decision(session):
    """The scheduler skips in its first pass, and only then the other one upstream fails."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        [failed, between, work] = empty("failed", "between", "work")
        choose = BranchPythonOperator(task_id="choose", python_callable=nothing)
        _ = failed >> between >> work
        _ = choose >> work
    run = a_run(
        dag, session, {"failed": "failed", "between": "success", "choose": "success", "work": "success"}
    )
    decide(run, session, {"followed": []})
    plan = plan_of(one_run(run, task_regex="^(between|work)$"))
    foreseen = {task_id: outcome for task_id, (outcome, _) in outcomes(plan, session).items()}
    assert foreseen == {"between": "upstream_failed", "work": "skipped"}
    came = settled(plan, session)
    assert {task_id: came[task_id] for task_id in foreseen} == foreseen


@pytest.mark.one_database
@pytest.mark.parametrize("rule", ["all_done", "all_success"])
def test_a_branch_that_ends_without_running_leaves_its_old_decision(session, rule):
    """It is cleared and fails for its upstream: what it decided the last time holds again."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        [failed] = empty("failed")
        choose = BranchPythonOperator(task_id="choose", python_callable=nothing)
        [left, right] = empty("left", "right", trigger_rule=rule)
        _ = failed >> choose >> [left, right]
    run = a_run(dag, session, dict.fromkeys(("choose", "left", "right"), "success") | {"failed": "failed"})
    decide(run, session, {"followed": ["left"]})
    plan = plan_of(one_run(run, task_regex="^(choose|left|right)$"))
    foreseen = outcomes(plan, session)
    came = settled(plan, session, succeeds=("left",))
    assert foreseen["choose"][0] == came["choose"] == "upstream_failed"
    if rule == "all_done":
        assert (foreseen["left"], came["left"]) == ("runs", "success")
        assert (foreseen["right"][0], came["right"]) == ("skipped", "skipped")
    else:
        assert foreseen["left"][0] == came["left"] == "upstream_failed"
        assert foreseen["right"] == ("unknown", "either_rule")
        assert came["right"] in ("skipped", "upstream_failed")


def test_a_decision_of_a_mapped_branch_holds_for_its_map_index(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        choose = ShortCircuitOperator.partial(task_id="choose", python_callable=nothing).expand(
            op_args=[[1], [2], [3]]
        )
        work = EmptyOperator.partial(task_id="work").expand(doc_md=["a", "b", "c"])
        [last] = empty("last")
        _ = choose >> [work, last]
    run = a_run(dag, session, {"choose": "success", "work": "success", "last": "success"})
    decide(run, session, {"skipped": ["work", "last"]}, map_index=1)
    plan = plan_of(one_run(run, task_regex="^(work|last)$"))
    foreseen = outcomes(plan, session)
    assert foreseen == {
        ("work", 0): "runs",
        ("work", 1): ("skipped", "already_skipped"),
        ("work", 2): "runs",
        "last": "runs",
    }
    came = settled(plan, session)
    assert {key: came[key] for key in foreseen} == {
        ("work", 0): "scheduled",
        ("work", 1): "skipped",
        ("work", 2): "scheduled",
        "last": "scheduled",
    }


@pytest.mark.one_database
def test_one_decision_holds_for_all_map_indexes_behind_it(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        choose = BranchPythonOperator(task_id="choose", python_callable=nothing)
        work = EmptyOperator.partial(task_id="work").expand(doc_md=["a", "b"])
        _ = choose >> work
    run = a_run(dag, session, {"choose": "success", "work": "skipped"})
    decide(run, session, {"followed": []})
    plan = plan_of(one_run(run, task_regex="^work$"))
    assert set(outcomes(plan, session).values()) == {("skipped", "already_skipped")}
    came = settled(plan, session)
    assert (came["work", 0], came["work", 1]) == ("skipped", "skipped")


@pytest.mark.one_database
def test_in_a_mapped_task_group_the_scheduler_finds_no_decision(session):
    """It looks for it without a map index, and it was left with one."""

    @task_group
    def items(value):
        choose = BranchPythonOperator(task_id="choose", python_callable=nothing)
        _ = choose >> EmptyOperator(task_id="work")

    with DAG("etl", schedule=None, start_date=START) as dag:
        items.expand(value=[1, 2])
    run = a_run(dag, session, {"items.choose": "success", "items.work": "success"})
    decide(run, session, {"followed": []}, task_id="items.choose", map_index=0)
    plan = plan_of(one_run(run, task_regex="work$"))
    assert outcomes(plan, session) == {("items.work", 0): "runs", ("items.work", 1): "runs"}
    came = settled(plan, session)
    assert (came["items.work", 0], came["items.work", 1]) == ("scheduled", "scheduled")


# Decisions that are made again


@pytest.mark.parametrize(
    ("rule", "decider", "join"),
    [
        ("none_failed_min_one_success", "branch", ("unknown", "branch_decides_again")),
        ("none_failed", "branch", "runs"),
        ("all_done", "branch", "runs"),
        ("all_success", "branch", ("unknown", "branch_decides_again")),
        ("all_done", "short", ("unknown", "branch_decides_again")),
    ],
)
def test_whole_runs_leave_open_what_a_branch_decides(session, rule, decider, join):
    """A short circuit skips all that is behind it, whatever the trigger rules say."""
    run = a_run(branching(rule=rule, decider=decider), session, FOLLOWED_LEFT)
    decide(run, session, {"followed": ["left"]})
    open_ = ("unknown", "branch_decides_again")
    plan = plan_of(one_run(run))
    assert outcomes(plan, session) == {
        "start": "runs",
        "choose": "runs",
        "left": open_,
        "right": open_,
        "join": join,
        "after": "runs" if join == "runs" else open_,
    }
    found = finding(plan, "branch_decides_again")
    assert found.level == "info"
    assert affected(plan, "branch_decides_again", session)["left", -1] == "choose"


def test_a_join_with_another_success_runs_whatever_the_branch_decides(session):
    dag = branching()
    with dag:
        other = EmptyOperator(task_id="other")
        _ = other >> dag.task_dict["join"]
    run = a_run(dag, session, {**FOLLOWED_LEFT, "other": "success"})
    decide(run, session, {"followed": ["left"]})
    plan = plan_of(one_run(run, task_regex="^choose$", include_downstream=True))
    found = outcomes(plan, session)
    assert found["left"] == ("unknown", "branch_decides_again")
    assert (found["join"], found["after"]) == ("runs", "runs")


# The latest run only


def latest_only_dag():
    with DAG("etl", schedule="@daily", start_date=START, catchup=True) as dag:
        [work, after] = empty("work", "after")
        _ = LatestOnlyOperator(task_id="latest") >> work >> after
    return dag


def daily_run(dag, session, date, run_type="scheduled", run_id=None):
    run = make_run(
        dag, session=session, logical_date=date, run_type=run_type, run_id=run_id or f"of_{date:%m%d}"
    )
    run.data_interval_start, run.data_interval_end = date, date + timedelta(days=1)
    session.commit()
    set_states(run, dict.fromkeys(("latest", "work", "after"), "success"), session=session)
    return run


def yesterday():
    return datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def test_latest_only_skips_in_an_older_run(session):
    dag = latest_only_dag()
    store_dag(dag, session=session)
    old, new = (daily_run(dag, session, date) for date in (START, yesterday()))
    plan = plan_of(one_run(old))
    skipped = ("skipped", "latest_only")
    assert outcomes(plan, session) == {"latest": "runs", "work": skipped, "after": skipped}
    found = finding(plan, "latest_only_skips")
    assert (found.level, found.count) == ("acknowledge", 2)
    assert affected(plan, "latest_only_skips", session)["work", -1] == "latest"
    assert outcomes(plan_of(one_run(new)), session) == {"latest": "runs", "work": "runs", "after": "runs"}


def test_latest_only_goes_on_in_a_manual_run_and_where_it_is_not_cleared(session):
    dag = latest_only_dag()
    store_dag(dag, session=session)
    manual = daily_run(dag, session, START, "manual")
    old = daily_run(dag, session, START + timedelta(days=1))
    assert finding(plan_of(one_run(manual)), "latest_only_skips") is None
    # The remedy: what it decided then stands.
    plan = plan_of(one_run(old, exclude_task_id=("latest",)))
    assert outcomes(plan, session) == {"work": "runs", "after": "runs"}
    assert finding(plan, "latest_only_skips") is None


@pytest.mark.parametrize(
    ("schedule", "days", "run_type"),
    every_other(
        ["@daily", "@hourly", "@once", None, timedelta(days=2), "0 6 * * 1-5"],
        [0, 1, 2, 5, 30],
        ["scheduled", "manual", "backfill"],
    ),
)
def test_the_latest_run_is_the_one_that_the_operator_means(session, schedule, days, run_type):
    with DAG("etl", schedule=schedule, start_date=START) as dag:
        operator = LatestOnlyOperator(task_id="latest")
        _ = operator >> EmptyOperator(task_id="work")
    store_dag(dag, session=session)
    timetable = serialized("etl", session=session).timetable
    date = yesterday() - timedelta(days=days - 1)
    interval = DataInterval.exact(date)
    if schedule in ("@daily", "@hourly"):
        interval = DataInterval(date, date + timedelta(days=1))
    run = SimpleNamespace(
        run_type=run_type,
        logical_date=date,
        run_after=interval.end,
        data_interval_start=interval.start,
        data_interval_end=interval.end,
    )
    chosen = list(operator.choose_branch({"dag_run": run}))
    assert latest_only.goes_on(run, timetable, datetime.now(timezone.utc)) == bool(chosen)


def test_many_old_runs_need_no_list(session):
    rows = [
        SimpleNamespace(run_id=str(n), version=None, run_type="scheduled" if n else "manual")
        for n in range(50)
    ]
    for n, row in enumerate(rows):
        date = START - timedelta(days=n)
        row.logical_date, row.run_after = date, date
        row.data_interval_start, row.data_interval_end = date, date + timedelta(days=1)
    store_dag(latest_only_dag(), session=session)
    version = SimpleNamespace(dag=serialized("etl", session=session))
    found = latest_only.old_runs(rows, {None: version}, datetime.now(timezone.utc))
    assert (found.runs_on, found.rest_is_old, len(found.skips)) == (["0"], True, latest_only.OLD_IN_A_ROW)


def test_a_manual_run_behind_many_old_runs_is_not_skipped(session):
    dag = latest_only_dag()
    store_dag(dag, session=session)
    manual = daily_run(dag, session, START, "manual")
    days = range(1, latest_only.OLD_IN_A_ROW + 3)
    made = [daily_run(dag, session, START + timedelta(days=day)) for day in days]
    plan = plan_of(Selection("etl", run_id=(manual.run_id, *(run.run_id for run in made))))
    rows = plan_task_instance
    session.rollback()
    skipped = select(rows.c.run_id).where(rows.c.plan_id == UUID(plan.id), rows.c.outcome == "skipped")
    assert set(session.scalars(skipped)) == {run.run_id for run in made}


def test_a_run_whose_version_has_no_dag_decides_nothing(session):
    row = SimpleNamespace(run_id="1", version=None, run_type="scheduled")
    now_ = datetime.now(timezone.utc)
    assert not latest_only.old_runs([row], {None: SimpleNamespace(dag=None)}, now_)


class Raising:
    """A custom timetable that fails."""

    def next_dagrun_info(self, **_):
        raise RuntimeError("no calendar for this year")


def test_a_timetable_that_raises_leaves_open_whether_a_run_is_the_latest(session, monkeypatch):
    dag = latest_only_dag()
    store_dag(dag, session=session)
    runs = [daily_run(dag, session, START + timedelta(days=day)) for day in range(3)]
    manual = daily_run(dag, session, START + timedelta(days=4), "manual")
    real = latest_only.goes_on
    monkeypatch.setattr(
        latest_only,
        "goes_on",
        lambda run, timetable, now: real(
            run, Raising() if run.run_id == runs[1].run_id and run.run_type != "manual" else timetable, now
        ),
    )
    plan = plan_of(Selection("etl", run_id=tuple(run.run_id for run in (*runs, manual))))
    rows = plan_task_instance
    session.rollback()
    query = select(rows.c.run_id, rows.c.outcome, rows.c.outcome_reason)
    found = session.execute(query.where(rows.c.plan_id == UUID(plan.id), rows.c.task_id == "after")).all()
    assert {row.run_id: (row.outcome, row.outcome_reason) for row in found} == {
        runs[0].run_id: ("skipped", "latest_only"),
        runs[1].run_id: ("unknown", "branch_decides_again"),
        runs[2].run_id: ("skipped", "latest_only"),
        manual.run_id: ("runs", None),
    }
    assert finding(plan, "branch_decides_again").count == 2


def test_runs_that_nobody_has_looked_at_are_left_open(session, monkeypatch):
    dag = latest_only_dag()
    store_dag(dag, session=session)
    runs = [daily_run(dag, session, START + timedelta(days=day)) for day in range(3)]
    monkeypatch.setattr(latest_only, "MAX_RUNS", 2)
    plan = plan_of(Selection("etl", run_id=tuple(run.run_id for run in runs)))
    assert (plan.outcomes["unknown"], plan.outcomes["skipped"]) == (2, 4)
    monkeypatch.setattr(latest_only, "MAX_RUNS", 3)
    assert plan_of(plan.selection).outcomes["unknown"] == 0


# Persons


def test_a_cleared_approval_is_asked_for_again(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        _ = HITLOperator(task_id="ask", subject="Load?", options=["yes", "no"]) >> EmptyOperator(
            task_id="work"
        )
    run = a_run(dag, session, {"ask": "success", "work": "success"})
    plan = plan_of(one_run(run))
    assert outcomes(plan, session) == {"ask": ("waits", "waits_for_person"), "work": "runs"}
    assert finding(plan, "waits_for_person").level == "warn"
    hitl_detail(task_instances(run, session=session)[0], session=session, answered=True)
    session.commit()
    plan = plan_of(one_run(run))
    found = finding(plan, "waits_for_person")
    assert (found.level, found.count) == ("acknowledge", 1)
    assert "1 question was answered before" in found.detail
    assert set(affected(plan, "waits_for_person", session)) == {("ask", -1)}
    # The remedy.
    without = plan_of(one_run(run, exclude_task_id=("ask",)))
    assert outcomes(without, session) == {"work": "runs"}
    assert finding(without, "waits_for_person") is None


@pytest.mark.one_database
def test_what_is_behind_an_approval_is_open(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        _ = ApprovalOperator(task_id="ask", subject="Load?") >> EmptyOperator(task_id="work")
    run = a_run(dag, session, {"ask": "success", "work": "success"})
    assert outcomes(plan_of(one_run(run)), session) == {
        "ask": ("waits", "waits_for_person"),
        "work": ("unknown", "branch_decides_again"),
    }


@pytest.mark.one_database
@pytest.mark.parametrize("first", ["approval", "branch"])
def test_an_answer_behind_a_decision_that_is_made_again_is_not_lost_unnoticed(first, session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        decider = (
            ApprovalOperator(task_id="first", subject="Load?")
            if first == "approval"
            else BranchPythonOperator(task_id="first", python_callable=nothing)
        )
        _ = decider >> ApprovalOperator(task_id="second", subject="Publish?")
    run = a_run(dag, session, {"first": "success", "second": "success"})
    for ti in task_instances(run, session=session):
        if ti.task_id == "second" or first == "approval":
            hitl_detail(ti, session=session, answered=True)
    session.commit()
    found = finding(plan_of(one_run(run)), "waits_for_person")
    assert (found.level, found.count) == ("acknowledge", 1)
    assert "1 answer is downstream of a decision that is made again" in found.detail
    assert ("question was answered" in found.detail) == (first == "approval")


def test_a_task_that_has_asked_before_asks_again_whatever_its_class_is(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        empty("ask", "work")
    store_dag(dag, session=session)
    runs = [make_run(dag, session=session, run_id=f"run_{n}", task_state="success") for n in (1, 2)]
    hitl_detail(task_instances(runs[0], session=session)[0], session=session, answered=True)
    session.commit()
    plan = plan_of(Selection("etl", run_id=("run_1", "run_2")))
    assert finding(plan, "waits_for_person").count == 2
    assert "1 question was answered" in finding(plan, "waits_for_person").detail


@pytest.mark.one_database
def test_a_question_without_a_pool_is_never_asked(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        HITLOperator(task_id="ask", subject="Load?", options=["yes", "no"], pool="nowhere")
    run = a_run(dag, session, {"ask": "success"})
    assert outcomes(plan_of(one_run(run)), session) == {"ask": ("never_starts", "pool")}


# Stored state


def store_state(run, session, task_id="work", map_index=-1):
    store = pytest.importorskip("airflow.models.task_state_store")
    session.add(
        store.TaskStateStoreModel(
            dag_run_id=run.id,
            dag_id=run.dag_id,
            run_id=run.run_id,
            task_id=task_id,
            map_index=map_index,
            key="remote_job_id",
            value='"job_7"',
        )
    )
    session.commit()


def test_a_task_with_stored_state_resumes_until_it_is_deleted(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        [work, _] = empty("work", "other")
        _ = work >> EmptyOperator.partial(task_id="mapped").expand(doc_md=["a", "b"])
    run = a_run(dag, session, {"work": "success", "other": "success", "mapped": "success"})
    store_state(run, session)
    store_state(run, session, "mapped", 1)
    plan = plan_of(one_run(run))
    resumes = ("resumes", "stored_state")
    assert outcomes(plan, session) == {
        "work": resumes,
        "other": "runs",
        ("mapped", 0): "runs",
        ("mapped", 1): resumes,
    }
    found = finding(plan, "resumes_job")
    assert (found.level, found.count) == ("warn", 2)
    assert "1 of them has a map index" in found.detail
    # The remedy, between the clear and the start.
    from airflow._shared.state import TaskScope
    from airflow.api_fastapi.core_api.routes.public.task_state_store import clear_task_state_store

    clear(plan)
    scope = TaskScope(dag_id="etl", run_id="run_1", task_id="work", map_index=-1)
    clear_task_state_store(scope, session, all_map_indices=True)
    session.commit()
    again = plan_of(one_run(run))
    assert outcomes(again, session)["work"] == "runs"
    assert finding(again, "resumes_job").count == 1


def test_a_removed_task_that_comes_back_finds_the_state_that_it_has_stored(session):
    def etl(description):
        with DAG("etl", schedule=None, start_date=START, description=description) as dag:
            empty("work", "back")
        return dag

    run = a_run(etl("before"), session, {"work": "success", "back": "removed"})
    store_state(run, session, "back")
    store_dag(etl("after"), session=session)
    plan = plan_of(Selection("etl", run_id=("run_1",), task_regex="^work$"))
    assert outcomes(plan, session) == {"work": "runs", "back": ("resumes", "stored_state")}
    assert finding(plan, "resumes_job").count == 1
    assert set(affected(plan, "resumes_job", session)) == {("back", -1)}


def test_a_new_task_that_asks_a_person_is_listed_with_what_waits(session):
    def etl(*new):
        with DAG("etl", schedule=None, start_date=START) as dag:
            empty("work")
            for task_id in new:
                HITLOperator(task_id=task_id, subject="Load?", options=["yes", "no"])
        return dag

    run = a_run(etl(), session, {"work": "success"})
    store_dag(etl("ask"), session=session)
    plan = plan_of(Selection("etl", run_id=("run_1",), task_regex="^work$"))
    assert outcomes(plan, session) == {"work": "runs", "ask": ("waits", "waits_for_person")}
    assert finding(plan, "waits_for_person").count == 1
    assert set(affected(plan, "waits_for_person", session)) == {("ask", -1)}
    assert run.run_id == "run_1"


def test_stored_state_of_another_run_does_not_matter(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        empty("work")
    store_dag(dag, session=session)
    first, second = (make_run(dag, session=session, run_id=f"run_{n}", task_state="success") for n in (1, 2))
    store_state(first, session)
    plan = plan_of(one_run(second))
    assert outcomes(plan, session) == {"work": "runs"}
    assert finding(plan, "resumes_job") is None


def test_stored_state_of_an_asset_is_found_at_the_tasks_that_name_it(session):
    store = pytest.importorskip("airflow.models.asset_state_store")
    from airflow.models.asset import AssetModel
    from airflow.sdk import Asset

    with DAG("etl", schedule=None, start_date=START) as dag:
        EmptyOperator(task_id="load", outlets=[Asset("table", "s3://b/table")])
        EmptyOperator(task_id="read", inlets=[Asset("other", "s3://b/other")])
        EmptyOperator.partial(task_id="many", inlets=[Asset("table", "s3://b/table")]).expand(doc_md=["1"])
    run = a_run(dag, session, {"load": "success", "read": "success"})
    asset_id = session.scalar(select(AssetModel.id).where(AssetModel.name == "table"))
    session.add(store.AssetStateStoreModel(asset_id=asset_id, key="watermark", value='"2026-01-01"'))
    session.commit()
    found = finding(plan_of(one_run(run, task_regex="^load$")), "asset_state")
    assert found.level == "warn"
    assert found.title == "1 asset of the cleared tasks has stored state"
    assert finding(plan_of(one_run(run, task_regex="^read$")), "asset_state") is None
    assert finding(plan_of(one_run(run, task_regex="^many$")), "asset_state") is not None
