"""Going on without what has moved: a new plan over the runs that a stopped or stale one has left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import DAG, BaseOperator
from sqlalchemy import select, update

from safe_clear_plugin.core.plan_filters import RowFilter
from safe_clear_plugin.core.problems import Invalid, Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.planning.derived_plans import plan_remaining
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.storage.plans import plan_reader
from tests.db.acting import ME, OTHER, clear, days, now, plan_of, reread, step
from tests.support.factories import expand, make_run, set_states, store_dag, task_instances
from tests.support.scenes import START, store_etl
from tests.support.snapshots import diff_snapshots, snapshot


@pytest.fixture
def dag(session):
    return store_etl(session, runs=5)


@pytest.fixture(autouse=True)
def _one_run_a_batch(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")


def move(session, run_id, task_id="load"):
    """Change a task instance behind the plan's back."""
    same = (TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
    session.execute(update(TaskInstance).where(*same).values(state="success", try_number=1))
    session.commit()


def rest_of(plan, session, actor=ME):
    return plan_remaining(reread(plan, session), actor, now())


def rows(plan, session):
    """What a plan clears: by run, what of it and why."""
    session.rollback()
    found = plan_reader.task_instances(UUID(plan.id), RowFilter(), session, limit=1000)
    return {(row.run_id, row.task_id, row.map_index, row.effect, row.after_state) for row in found}


def runs_of(plan, session):
    return sorted({row[0] for row in rows(plan, session)})


def test_a_clear_that_was_stopped_goes_on_in_a_plan_of_its_own(dag, session):
    plan = stop_plan(step(step(plan_of(days(1, 4)))), ME, now())
    rest = rest_of(plan, session, OTHER)
    assert (rest.status, rest.created_by_name, rest.dag_runs) == ("ready", "Somebody else", 2)
    assert rows(rest, session) == {row for row in rows(plan, session) if row[0] in ("run_3", "run_4")}
    clear(rest, OTHER)
    session.rollback()
    assert sorted(session.scalars(select(DagRun.clear_number))) == [0, 1, 1, 1, 1]


def test_without_the_runs_that_moved(dag, session):
    plan = step(plan_of(days(1, 4)))
    move(session, "run_2")
    session.execute(update(DagRun).where(DagRun.run_id == "run_4").values(_state="success"))
    session.commit()
    plan = step(plan)
    assert (plan.status, plan.stop_reason.kind) == ("stopped", "drift")
    rest = rest_of(plan, session)
    assert runs_of(rest, session) == ["run_3"]
    clear(rest)
    session.rollback()
    cleared = session.scalars(select(DagRun.run_id).where(DagRun.clear_number == 1))
    assert sorted(cleared) == ["run_1", "run_3"]


def test_of_a_stale_plan(dag, session):
    plan = plan_of(days(1, 3))
    move(session, "run_2")
    with pytest.raises(Refused):
        step(plan)
    plan = reread(plan, session)
    assert plan.status == "stale"
    assert runs_of(rest_of(plan, session), session) == ["run_1", "run_3"]


def test_nothing_is_left(dag, session):
    plan = step(plan_of(days(1, 2)))
    move(session, "run_2")
    plan = step(plan)
    assert plan.status == "stopped"
    before = snapshot(session)
    session.rollback()
    with pytest.raises(Invalid) as invalid:
        rest_of(plan, session)
    assert "none is left" in invalid.value.problems[0].reason
    assert diff_snapshots(before, snapshot(session)) == {}


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (days(2, 2, include_past=True), ["run_2"]),
        (days(4, 4, include_future=True), ["run_5"]),
        (Selection("etl", run_id=("run_3",), include_past=True), ["run_2", "run_3"]),
        (Selection("etl", run_id=("run_4",), include_future=True), ["run_5"]),
        (days(3, 3, include_past=True, include_future=True, date_field="run_after"), None),
    ],
)
def test_past_and_future_bring_no_others_in(dag, session, selection, left):
    plan = step(plan_of(selection))
    # A run of these days that came after the preview is not what was confirmed.
    for run_id, hour in (("before", 1), ("after", 2)):
        day = START.replace(day=1 if run_id == "before" else 5, hour=hour)
        run = make_run(dag, session=session, run_id=run_id, logical_date=day, state="failed")
        set_states(run, {"transform": "failed"}, session=session)
    plan = stop_plan(plan, ME, now())
    rest = rest_of(plan, session)
    left = left or ["run_2", "run_3", "run_4", "run_5"]
    assert runs_of(rest, session) == left
    assert rows(rest, session) == {row for row in rows(plan, session) if row[0] in left}


def test_with_everything_else_that_was_asked_for(dag, session):
    selection = days(
        1,
        4,
        task_regex="^trans",
        include_downstream=True,
        exclude_task_id=("extract",),
        state=("failed", "upstream_failed"),
        reset_dag_runs=False,
    )
    plan = stop_plan(step(plan_of(selection)), ME, now())
    rest = rest_of(plan, session)
    assert not rest.selection.reset_dag_runs
    assert rows(rest, session) == {row for row in rows(plan, session) if row[0] != "run_1"}


class Step(BaseOperator):
    """A task that could be mapped."""

    def __init__(self, *, value=None, **kwargs):
        super().__init__(**kwargs)
        self.value = value


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("left", [1, 2])
def test_of_one_map_index_with_what_follows(session, left, follows):
    """In several runs relatives are taken whole, in a single one they follow the map index."""
    from airflow.sdk import task_group

    with DAG("etl", schedule=None, start_date=START) as dag:

        @task_group(group_id="each")
        def each(value):
            Step(task_id="first") >> Step(task_id="second")

        each.expand(value=Step(task_id="source").output)
    store_dag(dag, session=session)
    for number in range(1, left + 2):
        date = START.replace(day=number)
        run = make_run(dag, session=session, run_id=f"run_{number}", logical_date=date, state="failed")
        expand(run, "each", 2, session=session)
        set_states(
            run, {ti.task_id: "failed" for ti in task_instances(run, session=session)}, session=session
        )
    chosen: dict[str, Any] = {"task_regex": "^each.first$", "map_index": 1, "include_downstream": True}
    if follows:
        selection = Selection("etl", run_id=("run_1",), include_future=True, **chosen)
    else:
        selection = days(1, left + 1, **chosen)
    plan = stop_plan(step(plan_of(selection)), ME, now())
    expected = {row for row in rows(plan, session) if row[0] != "run_1"}
    assert {row[2] for row in expected if row[1] == "each.second"} == ({1} if follows else {0, 1})
    rest = rest_of(plan, session)
    assert rows(rest, session) == expected
    # Nor does it matter how often something is left out of what is left.
    without = make_plan(replace(rest.selection, exclude_run_id=("run_2",) * (left - 1)), ME, now())
    assert rows(without, session) == {row for row in expected if left == 1 or row[0] != "run_2"}
    assert rows(rest_of(without, session), session) == rows(without, session)
