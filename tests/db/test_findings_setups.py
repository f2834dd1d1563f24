"""Setups and teardowns that a plan leaves out, and the switch that takes them in spite of a state filter."""

from __future__ import annotations

from uuid import UUID

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task, task_group
from sqlalchemy import select

from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.plan_text import sentence
from safe_clear_plugin.services.live_preview.selection_preview import preview_selection
from safe_clear_plugin.services.planning.derived_plans import plan_with_field
from safe_clear_plugin.storage.findings import affected_task_instances
from safe_clear_plugin.storage.tables import plan_task_instance
from tests.db.acting import ME, clear, now, plan_of
from tests.db.finding_scenes import finding, one_run
from tests.support.factories import make_run, set_states, store_dag
from tests.support.scenes import START

pytestmark = pytest.mark.backend

DONE = {"create": "success", "load": "failed", "report": "success", "delete": "success", "other": "success"}


def cluster():
    """Return a DAG whose work needs a cluster, beside a task that needs none."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        create = EmptyOperator(task_id="create").as_setup()
        delete = EmptyOperator(task_id="delete").as_teardown(setups=create)
        create >> EmptyOperator(task_id="load") >> EmptyOperator(task_id="report") >> delete
        EmptyOperator(task_id="other")
    return dag


@pytest.fixture
def run(session):
    """Return a failed run whose teardown has run."""
    store_dag(cluster(), session=session)
    run = make_run("etl", session=session, run_id="run_1", state="failed")
    set_states(run, DONE, session=session)
    return run


def taken(plan, session):
    """Return the plan's task instances with their effect and reason."""
    session.rollback()
    rows = plan_task_instance
    found = session.execute(select(rows).where(rows.c.plan_id == UUID(plan.id)))
    return {(row.run_id, row.task_id, row.map_index): (row.effect, row.why) for row in found}


def names(plan, session):
    return sorted(task_id for _, task_id, _ in taken(plan, session))


def behind(plan, code, session):
    """Return what is behind a finding: each with what it is left without."""
    session.rollback()
    rows = affected_task_instances.affected_rows(code, UUID(plan.id), plan.dag_id, session)
    return [(row.run_id, row.task_id, row.map_index, row.related_task_id) for row in rows]


@pytest.mark.parametrize("regex", ["", "^load$"], ids=["whole run", "by regex"])
def test_work_that_runs_again_without_its_setup_is_to_be_acknowledged(session, run, regex):
    plan = plan_of(one_run(run, state=("failed",), task_regex=regex))
    assert names(plan, session) == ["load"]
    found = finding(plan, "setup_left_out")
    assert (found.level, found.count, found.widen) == ("acknowledge", 1, ("include_setups",))
    assert found.title == (
        "1 task instance will run again without its setup: `create` is not in this plan in 1 run"
    )
    assert behind(plan, "setup_left_out", session) == [("run_1", "load", -1, "create")]
    assert finding(plan, "teardown_left_out") is None


@pytest.mark.parametrize("regex", ["", "^load$"], ids=["whole run", "by regex"])
def test_the_remedy_brings_the_setup_and_the_teardown_and_nothing_else(session, run, regex):
    plan = plan_of(one_run(run, state=("failed",), task_regex=regex))
    wider = plan_with_field(plan, "include_setups", ME, now())
    assert taken(wider, session) == {
        ("run_1", "create", -1): ("clear", "setup of load"),
        ("run_1", "load", -1): ("clear", taken(plan, session)["run_1", "load", -1][1]),
        ("run_1", "delete", -1): ("clear", "teardown of load"),
    }
    assert [finding(wider, code) for code in ("setup_left_out", "teardown_left_out")] == [None, None]
    assert finding(wider, "success_redone") is None
    assert clear(wider).cleared == 3


def test_without_a_state_nothing_is_left_out(session, run):
    plan = plan_of(one_run(run, task_regex="^load$"))
    assert names(plan, session) == ["create", "delete", "load"]
    assert finding(plan, "setup_left_out") is None
    assert names(plan_of(one_run(run, task_regex="^load$", include_setups=True)), session) == [
        "create",
        "delete",
        "load",
    ]


@pytest.mark.parametrize(
    "states",
    [{"delete": None}, {"create": "failed", "delete": "success"}],
    ids=["the teardown has not run", "the setup failed"],
)
def test_a_setup_that_still_stands_or_never_did_is_not_missed(session, run, states):
    set_states(run, states, session=session)
    assert (
        finding(
            plan_of(one_run(run, task_regex="^load$", state=("failed",), exclude_task_id=("create",))),
            "setup_left_out",
        )
        is None
    )


def test_work_that_needs_no_setup_is_not_among_them(session, run):
    set_states(run, {"other": "failed", "load": "success"}, session=session)
    plan = plan_of(one_run(run, state=("failed",)))
    assert names(plan, session) == ["other"]
    assert finding(plan, "setup_left_out") is None
    assert names(plan_with_field(plan, "include_setups", ME, now()), session) == ["other"]


def test_a_setup_that_runs_again_without_its_teardown_is_to_be_acknowledged(session, run):
    set_states(run, {"create": "failed", "load": "upstream_failed"}, session=session)
    plan = plan_of(one_run(run, state=("failed", "upstream_failed")))
    assert names(plan, session) == ["create", "load"]
    found = finding(plan, "teardown_left_out")
    assert (found.level, found.count, found.widen) == ("acknowledge", 1, ("include_setups",))
    assert found.title == "1 setup will run again without its teardown: `delete` is not in this plan in 1 run"
    assert behind(plan, "teardown_left_out", session) == [("run_1", "create", -1, "delete")]
    wider = plan_with_field(plan, "include_setups", ME, now())
    assert names(wider, session) == ["create", "delete", "load"]
    assert finding(wider, "teardown_left_out") is None


def test_a_teardown_that_is_still_to_run_is_not_missed(session, run):
    set_states(run, {"create": "failed", "load": "upstream_failed", "delete": None}, session=session)
    assert finding(plan_of(one_run(run, state=("failed", "upstream_failed"))), "teardown_left_out") is None


@pytest.mark.parametrize(
    "excluded",
    [
        {"exclude_task_id": ("create", "delete")},
        {
            "exclude_task_instance": (
                TaskInstanceKey("run_1", "create", -1),
                TaskInstanceKey("run_1", "delete", -1),
            )
        },
    ],
    ids=["tasks", "task instances"],
)
def test_what_is_excluded_stays_out_and_is_named(session, run, excluded):
    plan = plan_of(one_run(run, task_regex="^load$", **excluded))
    assert names(plan, session) == ["load"]
    found = finding(plan, "setup_left_out")
    assert found.widen == ()
    assert found.remedy == "Remove `create` from the exclusions."
    more = one_run(run, task_regex="^load$", state=("failed",), include_setups=True, **excluded)
    assert names(plan_of(more), session) == ["load"]
    assert finding(plan_of(one_run(run, task_regex="^load$")), "setup_left_out") is None


def test_an_excluded_teardown_is_named(session, run):
    plan = plan_of(one_run(run, task_regex="^load$", exclude_task_id=("delete",)))
    found = finding(plan, "teardown_left_out")
    assert (found.count, found.remedy) == (1, "Remove `delete` from the exclusions.")
    assert finding(plan_of(one_run(run, task_regex="^load$")), "teardown_left_out") is None


def test_a_run_without_cleared_work_keeps_its_setups(session, run):
    done = make_run("etl", session=session, run_id="run_2", state="success")
    set_states(done, {**DONE, "load": "success"}, session=session)
    other = one_run(run, state=("failed",), include_setups=True)
    other = type(other)(**{**vars_of(other), "run_id": ("run_1", "run_2")})
    assert {run_id for run_id, *_ in taken(plan_of(other), session)} == {"run_1"}


def vars_of(selection):
    return {name: getattr(selection, name) for name in selection.__slots__}


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        ("leave_out", {"create": "clear", "delete": "leave_out"}),
        ("terminate", {"create": "clear", "delete": "terminate"}),
    ],
)
def test_a_running_teardown_is_treated_as_asked_for(session, run, running, expected):
    set_states(run, {"delete": "running"}, session=session)
    plan = plan_of(one_run(run, state=("failed",), include_setups=True, running=running))
    found = {task_id: effect for (_, task_id, _), (effect, _) in taken(plan, session).items()}
    assert found == {**expected, "load": "clear"}


def test_work_that_is_left_out_brings_no_setup(session, run):
    set_states(run, {"load": "running", "other": "failed"}, session=session)
    plan = plan_of(one_run(run, state=("failed", "running"), include_setups=True))
    assert {task_id: effect for (_, task_id, _), (effect, _) in taken(plan, session).items()} == {
        "load": "leave_out",
        "other": "clear",
    }


def test_in_a_mapped_group_only_the_same_map_index_comes_along(session):
    with DAG("etl", schedule=None, start_date=START) as dag:

        @task
        def made(value):
            return value

        @task_group
        def each(value):
            create = EmptyOperator(task_id="create").as_setup()
            delete = EmptyOperator(task_id="delete").as_teardown(setups=create)
            create >> made(value) >> delete

        each.expand(value=[1, 2, 3])
    store_dag(dag, session=session)
    run = make_run("etl", session=session, run_id="run_1", state="failed", task_state="success")
    set_states(run, {("each.made", 1): "failed"}, session=session)
    plan = plan_of(one_run(run, state=("failed",)))
    assert behind(plan, "setup_left_out", session) == [("run_1", "each.made", 1, "each.create")]
    wider = plan_with_field(plan, "include_setups", ME, now())
    assert sorted((task_id, index) for _, task_id, index in taken(wider, session)) == [
        ("each.create", 1),
        ("each.delete", 1),
        ("each.made", 1),
    ]
    assert finding(wider, "setup_left_out") is None
    assert finding(wider, "teardown_left_out") is None


@pytest.mark.parametrize("regex", ["", "^load$"], ids=["whole run", "by regex"])
@pytest.mark.parametrize("running", ["leave_out", "terminate"])
def test_the_live_count_is_that_of_the_plan(session, run, regex, running):
    set_states(run, {"delete": "running"}, session=session)
    selection = one_run(run, state=("failed",), include_setups=True, task_regex=regex, running=running)
    counts = preview_selection(selection, now()).counts
    plan = plan_of(selection)
    effects = [effect for effect, _ in taken(plan, session).values()]
    assert counts.found.total == plan.task_instances
    assert counts.found.left_out == effects.count("leave_out")


def test_the_sentence_says_what_is_taken(session, run):
    plan = plan_of(one_run(run, state=("failed",), include_setups=True))
    assert "Includes the setup and teardown tasks of these, in any state." in sentence(
        plan.selection, on_latest=False
    )
    plain = sentence(plan_of(one_run(run, state=("failed",))).selection, on_latest=False)
    assert "setup" not in plain
