"""A selection that matches nothing: the refusal says what is there, and each suggestion leads to a plan."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import delete, update

from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from tests.db.acting import clear, plan_of
from tests.db.changed_dags import RUNS, a_b, dag_of, mapped, of, store_history, task
from tests.db.scheduler_looks import live, look
from tests.support.factories import make_run, set_states, store_dag, task_instances
from tests.support.scenes import START, store_etl

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]


@pytest.fixture
def history(session):
    """Store a DAG with successful runs, then another version of it."""
    return partial(store_history, session)


def refusal(selection):
    """Return why nothing is planned."""
    with pytest.raises(Invalid) as refused:
        plan_of(selection)
    [problem] = refused.value.problems
    return problem


def followed(selection, problem):
    """Follow the only suggestion, and return the plan that it leads to."""
    [suggestion] = problem.suggestions
    return plan_of(selection.changed(suggestion.changes))


def test_states_that_are_not_there_are_answered_with_those_that_are(session):
    store_etl(session)
    selection = Selection("etl", date_from=START, state=("queued", "deferred"))
    problem = refusal(selection)
    assert problem.reason == (
        "These 3 runs have no Queued or Deferred task instance: 3 are Failed, 3 are Success and 3 are "
        "Upstream Failed."
    )
    assert (problem.field, problem.remedy) == ("state", "Select Failed and Upstream Failed too.")
    assert followed(selection, problem).task_instances == 6


@pytest.mark.one_database
def test_what_timed_out_is_said_where_nothing_failed(history, session):
    runs = history(a_b, run_state="failed")
    for run in runs:
        set_states(run, {"a": "skipped", "b": "skipped"}, session=session)
    session.execute(update(TaskInstance).where(TaskInstance.task_id == "b").values(end_date=None))
    session.commit()
    selection = of("b", state=("failed",))
    problem = refusal(selection)
    assert problem.reason == (
        "These 3 runs have no Failed task instance of `b`: 3 are Skipped. They were skipped because the dag "
        "run timed out."
    )
    assert followed(selection, problem).task_instances == 3
    problem = refusal(Selection("etl", date_from=START, state=("failed",)))
    assert problem.reason.endswith("6 are Skipped. 3 of them were skipped because the dag run timed out.")


def test_successes_are_named_and_not_suggested(history):
    history(a_b, runs=("run_1",))
    problem = refusal(of("b", state=("failed",)))
    assert problem.reason == "This run has no Failed task instance of `b`: 1 is Success."
    assert (problem.remedy, problem.suggestions) == ("Select Success to clear these.", ())


def test_a_map_index_that_is_not_there(history):
    history(lambda: mapped("m", 2), runs=("run_1",))
    selection = of("m", map_index=5)
    problem = refusal(selection)
    assert problem.reason == "This run has no task instance of `m` with map index 5, but 2 with others."
    assert followed(selection, problem).task_instances == 2


@pytest.mark.one_database
def test_all_running_suggests_to_terminate_them(session):
    dag = store_etl(session, runs=0)
    run = make_run(dag, session=session, run_id="live", logical_date=START, state="running")
    set_states(run, dict.fromkeys(("extract", "transform", "load"), "running"), session=session)
    selection = Selection("etl", date_from=START)
    problem = refusal(selection)
    assert problem.field == "running"
    assert followed(selection, problem).task_instances == 3


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("excluded", "field"),
    [
        ({"exclude_task_id": ("b",)}, "exclude_task_id"),
        ({"exclude_task_instance": (("b", -1, "run_1"),)}, "exclude_task_instance"),
    ],
)
def test_everything_that_is_excluded_is_said(history, excluded, field):
    from safe_clear_plugin.core.keys import TaskInstanceKey

    history(a_b, runs=("run_1",))
    if "exclude_task_instance" in excluded:
        excluded = {"exclude_task_instance": (TaskInstanceKey("run_1", "b", -1),)}
    problem = refusal(of("b", **excluded))
    assert (problem.reason, problem.field) == ("Everything that matches is excluded.", field)


@pytest.mark.one_database
def test_runs_without_task_instances_are_named(history, session):
    history(a_b)
    session.execute(delete(TaskInstance))
    session.commit()
    problem = refusal(of("b"))
    assert problem.reason == "These 3 runs have no task instances at all."
    assert problem.suggestions == ()


def with_d(*upstream):
    def build():
        made = {"a": task("a")}
        made["b"] = task("b", made["a"])
        task("d", *(made[one] for one in upstream))

    return build


@pytest.mark.parametrize("bundle", [None, "v"], ids=["no bundle version", "bundle versions"])
def test_a_task_newer_than_the_runs_is_created_by_the_suggestion(history, session, bundle):
    history(a_b, bundle_version=bundle and "v1")
    store_dag(dag_of(with_d("b")), session=session, bundle_version=bundle and "v2")
    session.rollback()
    selection = of("d")
    problem = refusal(selection)
    assert problem.reason == (
        "These 3 runs have no task instance of `d`: it was added to the Dag after them, or deleted since."
    )
    assert problem.remedy == (
        "Clear a task that they have, such as `b`, on the latest version as well. That creates `d`."
    )
    clear(followed(selection, problem))
    look(rounds=4)
    assert {key: row.state for key, row in live(session).items() if key[1] == "d"} == {
        (run_id, "d", -1): "success" for run_id in RUNS
    }


@pytest.mark.one_database
def test_a_new_root_is_created_with_what_is_downstream_of_it(history, session):
    def new_root():
        task("b", task("a", task("d")))

    history(a_b, new_root)
    selection = of("d")
    plan = followed(selection, refusal(selection))
    clear(plan)
    look(rounds=4)
    assert live(session)["run_1", "d", -1].state == "success"


def test_a_new_task_without_relatives_names_no_task_and_its_remedy_works(history, session):
    history(a_b, with_d())
    selection = of("d")
    problem = refusal(selection)
    assert problem.remedy == ("Clear a task that they have on the latest version as well. That creates `d`.")
    assert problem.suggestions == ()
    clear(of("b", "d", run_on_latest_version=True))
    look(rounds=4)
    assert live(session)["run_1", "d", -1].state == "success"


@pytest.mark.one_database
def test_a_run_that_goes_on_is_not_promised_the_new_task(history, session):
    history(a_b, with_d("b"), run_state="running")
    problem = refusal(of("d"))
    assert (problem.remedy, problem.suggestions) == ("Choose other runs, or other tasks.", ())


def test_a_task_that_starts_later_is_not_promised(history, session):
    def later():
        a_b()
        task("d", start_date=START + timedelta(days=60))

    history(a_b, later)
    problem = refusal(of("d"))
    assert (problem.remedy, problem.suggestions) == ("Choose other runs, or other tasks.", ())


def test_no_run_of_a_state_is_answered_with_the_states_that_there_are(session):
    store_etl(session)
    selection = Selection("etl", date_from=START, run_state=("running",))
    problem = refusal(selection)
    assert problem.reason == "The dates and ids match 3 dag runs of etl, but none is Running: 3 Failed."
    assert problem.field == "run_state"
    assert followed(selection, problem).dag_runs == 3


def test_no_run_of_a_type_is_answered_with_the_types_that_there_are(session):
    store_etl(session)
    selection = Selection("etl", date_from=START, run_type=("backfill",), run_state=("failed",))
    problem = refusal(selection)
    assert problem.reason == "The dates and ids match 3 dag runs of etl, but none is backfill: 3 manual."
    assert followed(selection, problem).dag_runs == 3


def test_excluded_runs_are_said(session):
    store_etl(session, runs=1)
    problem = refusal(Selection("etl", date_from=START, exclude_run_id=("run_1",)))
    assert problem.field == "exclude_run_id"
    assert problem.reason == "The dates and ids match 1 dag run of etl, but all are excluded."


def test_dates_without_runs_are_answered_with_the_dates_of_the_runs(session):
    store_etl(session)
    problem = refusal(Selection("etl", date_from=START + timedelta(days=90)))
    assert problem.reason == (
        "The selection matches no dag run of etl: its 3 runs with a logical date are from "
        "Thu 2026-01-01 00:00 UTC to Sat 2026-01-03 00:00 UTC."
    )
    assert problem.field == "date_from"


def test_runs_without_a_logical_date_are_found_by_the_suggestion(session):
    dag = store_etl(session, runs=0)
    run = make_run(dag, session=session, run_id="undated", logical_date=None, run_after=START, state="failed")
    assert task_instances(run, session=session)
    selection = Selection("etl", date_from=START)
    problem = refusal(selection)
    assert problem.field == "date_field"
    assert followed(selection, problem).dag_runs == 1
