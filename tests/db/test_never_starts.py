"""What never starts, and how runs end, held against Airflow's scheduler until nothing moves."""

from __future__ import annotations

from datetime import datetime, timezone
from uuid import UUID

import pytest
from airflow.models.xcom import XComModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.sdk import DAG, task
from airflow.task.trigger_rule import TriggerRule
from sqlalchemy import update

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.planning.derived_plans import plan_with_field
from safe_clear_plugin.storage.findings import affected_task_instances, run_counts, run_outcomes
from safe_clear_plugin.storage.findings.run_counts import RunCount
from safe_clear_plugin.storage.findings.run_outcomes import RunEnds
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.tables import plan_run
from tests.db import changed_dags
from tests.db.acting import ME, clear, now, plan_of
from tests.db.finding_scenes import chain, finding, one_run, store_with_runs
from tests.db.played_runs import foreseen, holds, lose, run_of, run_to_the_end
from tests.db.scheduler_looks import look, states
from tests.support.factories import expand, make_run, set_states, store_dag, task_instances
from tests.support.scenes import START

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]

RULES = [str(rule) for rule in TriggerRule]


@pytest.mark.parametrize("rule", RULES)
def test_a_task_with_an_upstream_task_that_is_not_there(session, rule):
    """One of two is gone, the other in each state or cleared; and what waits for it, by some rules."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        left, right = EmptyOperator(task_id="left"), EmptyOperator(task_id="right")
        work = EmptyOperator(task_id="work", trigger_rule=rule)
        _ = [left, right] >> work
        _ = work >> EmptyOperator(task_id="after")
        _ = work >> EmptyOperator(task_id="late", trigger_rule="all_done")
        _ = [work, right] >> EmptyOperator(task_id="one", trigger_rule="one_success")
        _ = [work, right] >> EmptyOperator(task_id="none", trigger_rule="one_failed")
    store_dag(dag, session=session)
    for state in ("success", "failed", "skipped", "upstream_failed", "removed", None):
        of_run = "running" if state is None else "success"
        run = make_run(dag, session=session, run_id=f"run_{state}", state=of_run, task_state="success")
        set_states(run, {"right": state}, session=session)
        lose(session, run, "left")
    plan = plan_of(Selection("etl", task_regex="work|after|late|one|none", date_from=START))
    rows, _ = holds(plan, session)
    starts = rows["run_success", "work", -1] == "runs"
    assert starts == (rule in ("one_success", "one_done", "always")) or rule in (
        "all_failed",
        "all_skipped",
        "all_done_min_one_success",
        "all_done_setup_success",
    )


@pytest.mark.one_database
@pytest.mark.parametrize("rule", RULES)
def test_a_whole_run_in_which_everything_succeeds(session, rule):
    """Nothing is gone; or the first task, in the other run."""
    dag_tasks = ("a", "b")
    with DAG("etl", schedule=None, start_date=START) as dag:
        a, b = (EmptyOperator(task_id=name) for name in dag_tasks)
        work = EmptyOperator(task_id="work", trigger_rule=rule)
        _ = [a, b] >> work >> EmptyOperator(task_id="after")
    store_dag(dag, session=session)
    for name in ("whole", "lacking"):
        run = make_run(dag, session=session, run_id=name, state="success", task_state="success")
        if name == "lacking":
            lose(session, run, "a")
    holds(plan_of(Selection("etl", date_from=START)), session)


def test_a_green_run_that_fails_is_to_acknowledge_and_the_latest_version_creates_what_is_missing(session):
    """``b`` came after the runs: on their own version ``c`` never starts, on the latest it does."""
    runs = store_with_runs(
        chain("etl", "a", "b", "c", "d"), session, dict.fromkeys("abcd", "success"), runs=2, state="success"
    )
    for run in runs:
        lose(session, run, "b")
    plan = plan_of(Selection("etl", task_regex="^(c|d)$", date_from=START))
    found = finding(plan, "never_starts")
    assert (found.level, found.count, found.widen) == ("acknowledge", 4, ("run_on_latest_version",))
    assert "`b` has no task instance there" in found.detail
    assert "2 of these runs are Success now" in found.detail
    assert [row[2] for row in causes_of(plan, session)] == ["b", "c", "b", "c"]
    assert finding(plan, "success_redone") is None
    latest = plan_with_field(plan, "run_on_latest_version", ME, now())
    assert finding(latest, "never_starts") is None
    rows, of_runs = foreseen(latest, session)
    assert set(rows.values()) == set(of_runs.values()) == {"runs"}
    clear(latest)
    for run in runs:
        run_to_the_end("etl", run.run_id, session)
        states = {ti.task_id: str(ti.state) for ti in task_instances(run, session=session)}
        assert states == dict.fromkeys("abcd", "success")


def causes_of(plan, session):
    session.rollback()
    rows = affected_task_instances.affected_rows("never_starts", UUID(plan.id), plan.dag_id, session)
    return [(row.run_id, row.task_id, row.related_task_id) for row in rows]


@pytest.mark.one_database
def test_a_failed_run_that_fails_again_is_a_warning_and_excluding_leaves_it_alone(session):
    [run] = store_with_runs(chain("etl", "a", "b", "c"), session, dict.fromkeys("abc", "failed"))
    lose(session, run, "b")
    plan = plan_of(one_run(run))
    assert (finding(plan, "never_starts").level, finding(plan, "never_starts").count) == ("warn", 1)
    plan = plan_of(one_run(run, exclude_task_id=("c",)))
    assert finding(plan, "never_starts") is None


@pytest.mark.one_database
def test_a_missing_task_that_nothing_cleared_waits_for_is_no_finding(session):
    [run] = store_with_runs(
        chain("etl", "a", "b", "c"), session, dict.fromkeys("abc", "success"), state="success"
    )
    lose(session, run, "a")
    plan = plan_of(one_run(run, task_regex="^c$"))
    assert finding(plan, "never_starts") is None
    holds(plan, session)


@pytest.mark.parametrize(
    "setting", ["depends_on_past", "max_active_tis_per_dag", "max_active_tis_per_dagrun"]
)
def test_a_run_without_deadlock_never_ends(session, setting):
    with DAG("etl", schedule=None, start_date=START) as dag:
        options = {setting: True if setting == "depends_on_past" else 1}
        _ = EmptyOperator(task_id="a") >> EmptyOperator(task_id="b", **options)
    [run] = store_with_runs(dag, session, {"a": "success", "b": "success"}, state="success")
    lose(session, run, "a")
    plan = plan_of(one_run(run))
    assert finding(plan, "never_starts").level == "acknowledge"
    assert holds(plan, session)[1] == {run.run_id: "never_starts"}


def test_what_the_previous_run_blocks_goes_on_from_run_to_run(session):
    """``work`` failed in the first run, which is not in the plan; in the fifth it succeeded."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        work = EmptyOperator(task_id="work", depends_on_past=True)
        _ = work >> EmptyOperator(task_id="after")
        _ = work >> EmptyOperator(task_id="anyway", trigger_rule="always")
    runs = store_with_runs(dag, session, dict.fromkeys(("work", "after"), "failed"), runs=7)
    set_states(runs[4], {"work": "success", "after": "success"}, session=session)
    chosen = tuple(run.run_id for n, run in enumerate(runs) if n not in (0, 4))
    plan = plan_of(Selection("etl", run_id=chosen))
    rows, of_runs = holds(plan, session)
    assert [of_runs[f"run_{n}"] for n in (2, 3, 4, 6, 7)] == ["never_starts"] * 3 + ["runs"] * 2
    assert rows["run_4", "work", -1] == rows["run_4", "after", -1] == "never_starts"
    assert rows["run_4", "anyway", -1] == "runs"
    assert finding(plan, "depends_on_past") is not None


def test_a_previous_run_that_is_still_running_blocks_nothing_for_good(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        EmptyOperator(task_id="work", depends_on_past=True)
    first, second = store_with_runs(dag, session, {"work": "failed"}, runs=2)
    first.state = "running"
    set_states(first, {"work": "running"}, session=session)
    assert foreseen(plan_of(one_run(second)), session)[0] == {("run_2", "work", -1): "runs"}


def test_setups_teardowns_and_what_lies_between(session):
    """The setup is gone in one run, the first work in another."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        up = EmptyOperator(task_id="up").as_setup()
        first, second = EmptyOperator(task_id="first"), EmptyOperator(task_id="second")
        other = EmptyOperator(task_id="other", trigger_rule="always")
        down = EmptyOperator(task_id="down").as_teardown(setups=up)
        _ = up >> first >> second >> other >> down
    runs = store_with_runs(
        dag, session, dict.fromkeys(("up", "first", "second", "other", "down"), "success"), runs=3
    )
    lose(session, runs[0], "up")
    lose(session, runs[1], "first")
    rows, _ = holds(plan_of(Selection("etl", date_from=START)), session)
    assert set(rows.values()) == {"runs", "never_starts"}


def test_mappings_over_and_behind_what_is_missing(session):
    with DAG("etl", schedule=None, start_date=START) as dag:

        @task
        def numbers():
            return [1, 2]

        @task(trigger_rule="one_success")
        def each(x):
            return x

        @task
        def second(x):
            return x

        aside = EmptyOperator(task_id="aside")
        mapped = each.expand(x=numbers())
        _ = EmptyOperator(task_id="other") >> mapped
        _ = [mapped, aside] >> EmptyOperator(task_id="after")
        _ = [mapped, aside] >> EmptyOperator(task_id="late", trigger_rule="one_success")
        second.expand(x=[1, 2, 3]) >> EmptyOperator(task_id="last")
    store_dag(dag, session=session)
    for name, gone in (
        ("whole", ()),
        ("numbers", ("numbers",)),
        ("aside", ("aside",)),
        ("each", ("each", "aside")),
    ):
        run = make_run(dag, session=session, run_id=name, state="success", task_state="success")
        if name != "numbers":
            set_states(run, {"each": None}, session=session)
            expand(run, "each", 2, session=session)
            set_states(run, {"each": "success"}, session=session)
        lose(session, run, *gone)
    lose(session, run, "second")
    plan = plan_of(Selection("etl", task_regex="each|after|late|last", date_from=START))
    rows, _ = holds(plan, session)
    assert rows["numbers", "each", -1] == "upstream_failed"


@pytest.mark.one_database
def test_a_run_fails_by_a_failed_last_task_outside_the_plan(session):
    """The one downstream of what is cleared has a finding of its own; a teardown decides nothing."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        a, b, c = (EmptyOperator(task_id=name) for name in "abc")
        down = EmptyOperator(task_id="down").as_teardown()
        _ = a >> b >> down
        _ = c
    states = {"a": "success", "b": "success", "c": "success", "down": "failed"}
    runs = store_with_runs(dag, session, states, runs=3)
    set_states(runs[0], {"c": "failed"}, session=session)
    set_states(runs[1], {"b": "failed"}, session=session)
    plan = plan_of(Selection("etl", task_regex="^a$", date_from=START))
    assert (finding(plan, "runs_fail").count, finding(plan, "downstream_stays").count) == (1, 1)
    listed = affected_task_instances.affected_rows("runs_fail", UUID(plan.id), "etl", session)
    assert [(row.run_id, row.task_id, row.state) for row in listed] == [("run_1", "c", "failed")]
    _, of_runs = holds(plan, session)
    assert of_runs == {"run_1": "fails", "run_2": "fails", "run_3": "runs"}


@pytest.mark.one_database
def test_selecting_the_failed_last_task_too_lets_the_run_succeed(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        for name in "ac":
            EmptyOperator(task_id=name)
    [run] = store_with_runs(dag, session, {"a": "failed", "c": "failed"})
    assert finding(plan_of(one_run(run, task_regex="^a$")), "runs_fail").count == 1
    plan = plan_of(one_run(run))
    assert finding(plan, "runs_fail") is None
    assert holds(plan, session)[1] == {run.run_id: "runs"}


@pytest.mark.one_database
def test_runs_without_task_instances_are_counted(session):
    runs = store_with_runs(chain("etl", "a"), session, {"a": "success"}, runs=4)
    assert finding(plan_of(Selection("etl", date_from=START)), "runs_without_task_instances") is None
    for run in runs[:2]:
        lose(session, run, "a")
    plan = plan_of(Selection("etl", date_from=START))
    found = finding(plan, "runs_without_task_instances")
    assert found.title == ("2 runs of the selection have no task instances, so nothing is cleared in them")
    assert finding(plan_of(Selection("etl", run_id=("run_3",))), "runs_without_task_instances") is None


def test_a_task_that_is_newer_than_the_runs_is_not_created_in_them(session):
    """Its own start date is after them, so the latest version does not help."""
    runs = store_with_runs(
        chain("etl", "a", "b", "c"), session, dict.fromkeys("abc", "success"), runs=2, state="success"
    )
    for run in runs:
        lose(session, run, "b")
    with DAG("etl", schedule=None, start_date=START) as dag:
        a, c = EmptyOperator(task_id="a"), EmptyOperator(task_id="c")
        _ = a >> EmptyOperator(task_id="b", start_date=datetime(2100, 1, 1, tzinfo=timezone.utc)) >> c
    store_dag(dag, session=session)
    plan = plan_of(Selection("etl", task_regex="^c$", date_from=START, run_on_latest_version=False))
    found = finding(plan, "never_starts")
    assert (found.widen, found.remedy) == ((), "Exclude these task instances.")
    latest = plan_with_field(plan, "run_on_latest_version", ME, now())
    assert set(foreseen(latest, session)[1].values()) == {"fails"}


def test_a_green_run_that_waits_for_an_earlier_one_in_vain_is_to_acknowledge(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        EmptyOperator(task_id="work", depends_on_past=True)
    first, second = store_with_runs(dag, session, {"work": "success"}, runs=2, state="success")
    assert finding(plan_of(one_run(second)), "depends_on_past") is None
    set_states(first, {"work": "failed"}, session=session)
    first.state = "failed"
    session.commit()
    plan = plan_of(one_run(second))
    found = finding(plan, "depends_on_past")
    assert found.level == "acknowledge"
    assert "1 run is Success now and will never end." in found.detail
    assert holds(plan, session)[1] == {"run_2": "never_starts"}
    # The remedy.
    both = plan_of(Selection("etl", run_id=("run_1", "run_2")))
    assert finding(both, "depends_on_past") is None
    assert set(holds(both, session)[1].values()) == {"runs"}


def branch_and_missing(session, *, other_rule="all_success"):
    """``choose`` decides about ``work``, which also waits for ``gone``; ``after`` is behind ``work``."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        choose = BranchPythonOperator(task_id="choose", python_callable=list)
        work = EmptyOperator(task_id="work")
        _ = [choose, EmptyOperator(task_id="gone")] >> work
        _ = work >> EmptyOperator(task_id="after", trigger_rule=other_rule)
    states = dict.fromkeys(("choose", "gone", "work", "after"), "success")
    [run] = store_with_runs(dag, session, states, state="success")
    return run


def test_what_a_branch_decides_leaves_the_run_to_succeed(session):
    run = branch_and_missing(session)
    rows, of_runs = foreseen(plan_of(one_run(run)), session)
    assert (rows[run.run_id, "work", -1], of_runs) == ("unknown", {run.run_id: "runs"})


@pytest.mark.one_database
@pytest.mark.parametrize("rule", ["all_success", "all_done"])
def test_a_branch_over_what_would_never_start_leaves_the_end_of_the_run_open(session, rule):
    """If the branch skips it, the run succeeds; if not, it fails."""
    run = branch_and_missing(session, other_rule=rule)
    lose(session, run, "gone")
    plan = plan_of(one_run(run))
    rows, of_runs = foreseen(plan, session)
    assert {task_id: outcome for (_, task_id, _), outcome in rows.items()} == {
        "choose": "runs",
        "work": "unknown",
        "after": "unknown",
    }
    assert of_runs == {run.run_id: "unknown"}
    found = finding(plan, "branch_decides_again")
    assert found.count == 2
    listed = affected_task_instances.affected_rows("branch_decides_again", UUID(plan.id), "etl", session)
    assert len(listed) == found.count


def test_a_last_task_that_a_decision_and_a_failure_compete_for_leaves_the_run_open(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        choose = BranchPythonOperator(task_id="choose", python_callable=list)
        _ = [EmptyOperator(task_id="failed"), choose] >> EmptyOperator(task_id="work")
    [run] = store_with_runs(dag, session, {"failed": "failed", "choose": "success", "work": "skipped"})
    XComModel.set(
        key="skipmixin_key",
        value={"followed": []},
        dag_id=run.dag_id,
        task_id="choose",
        run_id=run.run_id,
        session=session,
    )
    session.commit()
    assert foreseen(plan_of(one_run(run, task_regex="^work$")), session)[1] == {run.run_id: "unknown"}


@pytest.mark.one_database
def test_a_question_that_is_never_asked_waits_for_nobody(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        ask = HITLOperator(task_id="ask", subject="Load?", options=["yes", "no"])
        _ = EmptyOperator(task_id="gone") >> ask
    [run] = store_with_runs(dag, session, {"gone": "success", "ask": "success"}, state="success")
    lose(session, run, "gone")
    plan = plan_of(one_run(run))
    assert foreseen(plan, session)[0] == {(run.run_id, "ask", -1): "never_starts"}
    assert finding(plan, "waits_for_person") is None


def test_a_thousand_sets_of_last_tasks_fit_into_a_statement(session):
    [run] = store_with_runs(chain("etl", "a", "b"), session, dict.fromkeys("ab", "success"), state="success")
    lose(session, run, "a")
    plan = plan_of(one_run(run))
    session.rollback()
    scope = PlanScope(UUID(plan.id), "etl")
    sets = {frozenset({"b", f"other_{n}"}): frozenset({n}) for n in range(1_000)}
    session.execute(update(plan_run).values(outcome="runs", outcome_reason=None))
    written = run_outcomes.write(scope, RunEnds(sets, sets, {}), session, whole=False, deciding=True)
    assert written == 1
    assert run_counts.count(scope, session) == [RunCount("never_starts", "never_ends", "success", 1)]


@pytest.mark.one_database
@pytest.mark.parametrize("rule", ["all_success", "all_done"])
def test_a_branch_over_a_task_without_a_pool_leaves_the_end_of_the_run_open(session, rule):
    """If the branch skips it, the run succeeds; if not, the run never ends."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        choose = BranchPythonOperator(task_id="choose", python_callable=list)
        work = EmptyOperator(task_id="work", pool="nowhere")
        _ = choose >> work >> EmptyOperator(task_id="after", trigger_rule=rule)
    states = dict.fromkeys(("choose", "work", "after"), "success")
    [run] = store_with_runs(dag, session, states, state="success")
    rows, of_runs = foreseen(plan_of(one_run(run)), session)
    assert {task_id: outcome for (_, task_id, _), outcome in rows.items()} == {
        "choose": "runs",
        "work": "unknown",
        "after": "unknown",
    }
    assert of_runs == {run.run_id: "unknown"}


def test_a_task_without_a_pool_whose_upstream_is_not_there_lets_the_run_fail(session):
    """Its trigger rule is looked at first: it is never scheduled, so the run does not wait for a slot."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        _ = EmptyOperator(task_id="b") >> EmptyOperator(task_id="c", pool="nowhere")
    store_dag(dag, session=session)
    run = make_run(dag, session=session, run_id="run_1", state="success", task_state="success")
    lose(session, run, "b")
    plan = plan_of(Selection("etl", run_id=("run_1",), task_regex="^c$"))
    rows, runs = holds(plan, session)
    assert rows["run_1", "c", -1] == "never_starts"
    assert runs["run_1"] == "fails"


@pytest.mark.one_database
def test_what_waits_for_a_task_without_a_pool_never_starts_either(session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        _ = EmptyOperator(task_id="a", pool="nowhere") >> EmptyOperator(task_id="b")
    [run] = store_with_runs(dag, session, {"a": "success", "b": "success"})
    rows, of_runs = foreseen(plan_of(one_run(run)), session)
    assert (set(rows.values()), of_runs) == ({"never_starts"}, {run.run_id: "never_starts"})


@pytest.mark.parametrize(
    ("selected", "before", "moves"),
    [
        ("each|after|last", "success", False),
        ("after|last", "success", False),
        ("each|after|last", "running", True),
        ("each|after|last", "success", True),
    ],
)
def test_what_waits_for_map_indexes_that_will_be_removed(session, selected, before, moves):
    """Before 3.3 they block task instances without a map index; they stay Success until they are removed."""

    def build(length):
        each = changed_dags.mapped("each", length)
        changed_dags.task("last", changed_dags.task("after", each))

    history = {"runs": ("run_1",), "run_state": before}
    [run] = changed_dags.store_history(session, lambda: build(3), lambda: build(1), **history)
    plan = plan_of(one_run(run, task_regex=f"^({selected})$", run_on_latest_version=moves))
    rows, of_runs = foreseen(plan, session)
    clear(plan)
    look(rounds=8)
    session.expire_all()
    ends = {"success": "runs", "failed": "fails", "running": "never_starts"}
    names = {"success": "runs", None: "never_starts", "removed": "removed"}
    assert of_runs == {run.run_id: ends[str(run_of("etl", run.run_id, session).state)]}, (
        rows,
        states(session),
    )
    assert rows == {key: names[state] for key, state in states(session).items() if key in rows}


def test_what_has_no_state_in_a_finished_run_starts_too(session):
    """``c`` never started, as the scheduler saw a deadlock; ``b`` is outside the plan and failed."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        [a, b, c] = (EmptyOperator(task_id=task_id) for task_id in "abc")
        _ = a >> b
        _ = c
    [run, plain] = store_with_runs(
        dag, session, {"a": "failed", "b": "upstream_failed", "c": "success"}, runs=2
    )
    set_states(run, {"c": None}, session=session)
    plan = plan_of(Selection("etl", task_regex="^a$", date_from=START))
    _, of_runs = foreseen(plan, session)
    assert of_runs == {run.run_id: "unknown", plain.run_id: "fails"}
    found = finding(plan, "others_start")
    assert (found.level, found.count) == ("acknowledge", 1)
    listed = affected_task_instances.affected_rows("others_start", UUID(plan.id), "etl", session)
    assert [(row.run_id, row.task_id, row.state) for row in listed] == [(run.run_id, "c", None)]
    # The remedy.
    both = plan_of(Selection("etl", task_regex="^(a|b|c)$", date_from=START))
    assert finding(both, "others_start") is None
    assert set(holds(both, session)[1].values()) == {"runs"}
    run.state = "running"
    set_states(run, {"c": None}, session=session)
    assert finding(plan_of(plan.selection), "others_start") is None


def test_a_branch_that_skips_what_has_failed_upstream_lets_the_run_succeed(session):
    """``left`` is upstream_failed and not in the plan; another run has a failure that stays."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        choose = BranchPythonOperator(task_id="choose", python_callable=list)
        _ = choose >> [EmptyOperator(task_id="left"), EmptyOperator(task_id="right")]
    states = {"choose": "failed", "left": "upstream_failed", "right": "upstream_failed"}
    open_, fails = store_with_runs(dag, session, states, runs=2)
    set_states(fails, {"right": "failed"}, session=session)
    plan = plan_of(Selection("etl", task_regex="^choose$", date_from=START))
    assert foreseen(plan, session)[1] == {open_.run_id: "unknown", fails.run_id: "fails"}
    assert finding(plan, "others_start") is None
    assert finding(plan, "downstream_stays").count == 4


@pytest.mark.parametrize("rule", ["one_failed", "all_skipped"])
def test_a_trigger_rule_skips_before_a_pool_is_looked_for(session, rule):
    """``alarm`` has no pool, and is not needed as ``work`` succeeds; ``stuck`` needs one."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        work = EmptyOperator(task_id="work")
        _ = work >> EmptyOperator(task_id="alarm", trigger_rule=rule, pool="nowhere")
        EmptyOperator(task_id="stuck", pool="nowhere")
    states = {"work": "failed", "alarm": "success", "stuck": "success"}
    [run] = store_with_runs(dag, session, states)
    rows, of_runs = foreseen(plan_of(one_run(run)), session)
    assert rows == {
        (run.run_id, "work", -1): "runs",
        (run.run_id, "alarm", -1): "skipped",
        (run.run_id, "stuck", -1): "never_starts",
    }
    assert of_runs == {run.run_id: "never_starts"}
    _, of_runs = holds(plan_of(one_run(run, exclude_task_id=("stuck",))), session)
    assert of_runs == {run.run_id: "runs"}


def test_what_waits_for_a_branch_that_is_skipped_is_skipped_too(session):
    """The branch is to decide again, but its trigger rule skips it."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        choose = BranchPythonOperator(task_id="choose", python_callable=list, trigger_rule="one_failed")
        left, right = EmptyOperator(task_id="left"), EmptyOperator(task_id="right", trigger_rule="all_done")
        _ = EmptyOperator(task_id="before") >> choose >> [left, right]
    states = dict.fromkeys(("before", "choose", "left", "right"), "success")
    [run] = store_with_runs(dag, session, states, state="success")
    rows, _ = foreseen(plan_of(one_run(run)), session)
    assert {task_id: outcome for (_, task_id, _), outcome in rows.items()} == {
        "before": "runs",
        "choose": "skipped",
        "left": "skipped",
        "right": "unknown",
    }
