"""What the grid counts, on a plan with runs beside it, mapped tasks, groups, and tasks that are gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, task
from sqlalchemy import delete, select, update

from safe_clear_plugin.core.grid.cell_text import describe
from safe_clear_plugin.core.grid.model import Cell
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services import grid as service
from safe_clear_plugin.services import grid_columns
from safe_clear_plugin.services.grid import Grid, Question, build
from safe_clear_plugin.storage import grid_queries
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance
from tests.db.acting import clear, plan_of, reread, undo
from tests.support.factories import make_run, set_states, store_dag

pytestmark = pytest.mark.backend

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)


def sales(*, with_report: bool = True) -> DAG:
    @task
    def per_region(region: str) -> str:
        return region

    with DAG("sales", schedule=None, start_date=START - 10 * DAY) as dag:
        with TaskGroup("extract") as extract, TaskGroup("raw"):
            EmptyOperator(task_id="orders")
        with TaskGroup("load") as load:
            publish = EmptyOperator(task_id="publish")
            per_region.expand(region=["eu", "us", "apac"]) >> publish
        extract >> load
        if with_report:
            load >> EmptyOperator(task_id="report")
    return dag


@pytest.fixture
def dag(session) -> DAG:
    """Store the DAG with a successful run a day, from 5 days before to 10 days after the start."""
    dag = sales()
    store_dag(dag, session=session)
    for day in range(-5, 11):
        make_run(
            dag, session=session, logical_date=START + day * DAY, run_id=f"run_{day}", task_state="success"
        )
    return dag


def ask(first: int, last: int, **more: Any) -> Selection:
    dates = {"date_from": START + first * DAY, "date_to": START + last * DAY}
    return Selection("sales", **{"task_regex": "per_region", **dates, **more})


def grid_of(plan: Any, session: Any, **question: Any) -> Grid:
    session.expire_all()
    found = build(plan, Question(**question), session)
    assert found is not None
    return found


def said(found: Grid, row_id: str) -> dict[object, str]:
    row = next(row for row in found.rows if row.node.id == row_id)
    return {key: describe(cell) for key, cell in row.cells.items()}


def get_run(session: Any, run_id: str) -> DagRun:
    return session.scalars(select(DagRun).where(DagRun.run_id == run_id)).one()


def cells(found: Grid) -> Iterator[Cell]:
    return (cell for row in found.rows for cell in row.cells.values())


def test_run_by_run(session, dag):
    set_states(
        get_run(session, "run_1"), {("load.per_region", 1): "failed", "report": "failed"}, session=session
    )
    set_states(get_run(session, "run_2"), {("load.per_region", 2): "running"}, session=session)
    found = grid_of(plan_of(ask(1, 3)), session)
    assert found.level == "run"
    assert [one.run_id for one in found.columns] == [f"run_{day}" for day in range(-2, 7)]
    assert [one.planned for one in found.columns] == [False] * 3 + [True] * 3 + [False] * 3
    assert [(row.kind, row.node.id, row.node.label, row.depth) for row in found.rows] == [
        ("group", "extract", "extract", 0),
        ("group", "extract.raw", "raw", 1),
        ("task", "extract.raw.orders", "orders", 2),
        ("group", "load", "load", 0),
        ("task", "load.per_region", "per_region", 1),
        ("task", "load.publish", "publish", 1),
        ("task", "report", "report", 0),
    ]
    regions = said(found, "load.per_region")
    assert regions["run_1"] == "1 Failed, 2 Success → No Status; matched"
    assert regions["run_2"] == "2 Success → No Status; 1 Running left out; matched"
    assert regions["run_0"] == regions["run_4"] == "3 Success"
    assert said(found, "load.publish")["run_1"] == "Success, will go stale"
    assert said(found, "report")["run_1"] == "Failed"
    assert said(found, "report")["run_0"] == "Success"
    assert said(found, "extract.raw.orders")["run_3"] == "Success"
    assert {key: describe(cell) for key, cell in found.runs.items()}["run_1"] == "Success → Queued"
    row = next(row for row in found.rows if row.node.id == "load.per_region")
    assert (row.changed, row.in_plan, row.node.mapped) == (8, 9, True)


@pytest.mark.parametrize("level", ["run", "hour", "day", "week", "month", "year"])
def test_every_level_counts_every_task_instance_once(session, dag, level):
    plan = plan_of(ask(0, 3, include_downstream=True))
    found = grid_of(plan, session, level=level)
    assert found.level == level
    inside = {one.key for one in found.columns if one.planned}
    counted = sum(row.cells[key].count for row in found.rows for key in inside & row.cells.keys())
    assert counted == 4 * 6
    assert sum(row.changed for row in found.rows) == plan.task_instances == 4 * 5
    assert sum(one.runs for one in found.columns if one.planned) == 4
    assert sum(one.runs for one in found.columns if not one.planned) == 6


def test_bins_hold_the_runs_of_their_time(session, dag):
    for minutes in (1, 24 * 60 - 1):
        make_run(dag, session=session, logical_date=START + timedelta(minutes=minutes), task_state="failed")
    found = grid_of(plan_of(ask(0, 2)), session, level="day")
    assert [(one.start, one.end, one.runs) for one in found.columns if one.planned] == [
        (START, START + DAY, 3),
        (START + DAY, START + 2 * DAY, 1),
        (START + 2 * DAY, START + 3 * DAY, 1),
    ]
    assert said(found, "load.per_region")[0] == "6 Failed, 3 Success → No Status; matched"


def test_a_window(session, dag):
    plan = plan_of(ask(0, 9))
    found = grid_of(plan, session, start=START + 3 * DAY, end=START + 5 * DAY)
    assert [one.run_id for one in found.columns] == ["run_3", "run_4"]
    assert found.zoomed
    edge = grid_of(plan, session, start=START, end=START + DAY)
    assert [one.run_id for one in edge.columns] == ["run_-3", "run_-2", "run_-1", "run_0"]
    empty = grid_of(plan, session, start=START + 300 * DAY, end=START + 301 * DAY)
    assert (empty.zoomed, empty.here.runs) == (False, 10)


def test_runs_among_the_planned_ones_are_shown_where_there_is_room(session, dag, monkeypatch):
    plan = plan_of(Selection("sales", task_regex="report", run_id=("run_1", "run_4")))
    columns = grid_of(plan, session).columns
    assert [one.run_id for one in columns if one.planned] == ["run_1", "run_4"]
    assert [one.run_id for one in columns][3:7] == ["run_1", "run_2", "run_3", "run_4"]
    monkeypatch.setattr(grid_columns, "MAX_RUNS", 3)
    assert [one.run_id for one in grid_of(plan, session, level="run").columns][3:5] == ["run_1", "run_4"]


def test_runs_without_a_logical_date_stand_where_they_were_due(session, dag):
    make_run(
        dag,
        session=session,
        logical_date=None,
        run_after=START + DAY / 2,
        run_id="by_hand",
        task_state="success",
    )
    make_run(
        dag,
        session=session,
        logical_date=None,
        run_after=START + 3.5 * DAY,
        run_id="after",
        task_state="success",
    )
    plan = plan_of(Selection("sales", task_regex="report", run_id=("run_0", "by_hand", "run_3")))
    columns = [one for one in grid_of(plan, session).columns if one.start >= START]
    assert [one.run_id for one in columns] == [
        "run_0",
        "by_hand",
        "run_1",
        "run_2",
        "run_3",
        "after",
        "run_4",
        "run_5",
    ]
    assert [one.dated for one in columns][:2] == [True, False]


def test_the_level_follows_the_size(session, dag, monkeypatch):
    plan = plan_of(ask(0, 9))
    assert grid_of(plan, session).level == "run"
    monkeypatch.setattr(grid_columns, "MAX_RUNS", 9)
    assert grid_of(plan, session).level == "day"
    monkeypatch.setattr(grid_columns, "MAX_BINS", 9)
    assert grid_of(plan, session).level == "week"
    assert list(grid_of(plan, session).levels) == ["week"]


def test_columns_and_lines_are_paged(session, dag, monkeypatch):
    plan = plan_of(ask(0, 9))
    monkeypatch.setattr(grid_columns, "MAX_RUNS", 4)
    pages = [grid_of(plan, session, level="run", first_column=first).columns for first in (0, 4, 8, 12)]
    assert [[one.run_id for one in page if one.planned] for page in pages] == [
        ["run_0", "run_1", "run_2", "run_3"],
        ["run_4", "run_5", "run_6", "run_7"],
        ["run_8", "run_9"],
        ["run_0", "run_1", "run_2", "run_3"],
    ]
    assert [sum(not one.planned for one in page) for page in pages] == [3, 0, 1, 3]
    monkeypatch.setattr(service, "MIN_ROWS", 3)
    monkeypatch.setattr(service, "MAX_CELLS", 3)
    lines = grid_of(plan, session, level="run", first_row=3)
    assert [row.node.id for row in lines.rows] == ["load", "load.per_region", "load.publish"]
    assert lines.all_rows == 7
    assert said(lines, "load.publish")["run_1"] == "Success, will go stale"


def test_a_page_of_bins_counts_what_is_in_them_alone(session, dag, monkeypatch):
    plan = plan_of(ask(0, 9))
    monkeypatch.setattr(grid_columns, "MAX_BINS", 2)
    runs = {}
    # The last is where the list of bins is cut off, with more runs behind it.
    for first in (0, 24, 198):
        found = grid_of(plan, session, level="hour", first_column=first)
        runs[first] = [one.runs for one in found.columns if one.planned]
    assert runs == {0: [1, 0], 24: [1, 0], 198: [0, 0]}


def test_tasks_gone_and_tasks_of_other_versions_have_lines_of_their_own(session, dag):
    store_dag(sales(with_report=False), session=session, new_version=True)
    session.execute(
        update(TaskInstance)
        .where(TaskInstance.run_id == "run_2", TaskInstance.task_id == "load.publish")
        .values(task_id="gone")
    )
    session.commit()
    plan = plan_of(ask(1, 2, task_regex=""))
    found = grid_of(plan, session)
    assert [(row.kind, row.node.id) for row in found.rows][-3:] == [
        ("group", "No longer in the Dag"),
        ("task", "gone"),
        ("task", "report"),
    ]
    assert said(found, "gone")["run_2"] == "Success → No Status; whole run, task not in the DAG"


def test_a_plan_of_other_tasks_shows_what_is_gone_beside_it(session, dag):
    store_dag(sales(with_report=False), session=session, new_version=True)
    found = grid_of(plan_of(ask(1, 2)), session)
    assert [(row.kind, row.node.id) for row in found.rows][-2:] == [
        ("group", "No longer in the Dag"),
        ("task", "report"),
    ]
    # The scheduler will see that the task is gone.
    assert said(found, "report")["run_1"] == "Success → Removed; the DAG has changed since the run"


def test_nothing_of_another_dag_or_plan(session, dag):
    other = plan_of(ask(2, 3, task_regex=""))
    with DAG("other", schedule=None, start_date=START) as stranger:
        EmptyOperator(task_id="report")
    store_dag(stranger, session=session)
    make_run(stranger, session=session, logical_date=START + DAY, run_id="run_1", task_state="failed")
    make_run(stranger, session=session, logical_date=START + DAY / 2, run_id="strange", task_state="failed")
    found = grid_of(plan_of(ask(1, 1)), session)
    assert said(found, "report")["run_1"] == "Success, will go stale"
    assert "strange" not in {one.run_id for one in found.columns}
    assert sum(row.changed for row in found.rows) == 3
    assert other.task_instances == 12


def test_a_receipt_shows_the_states_now(session, dag):
    plan = clear(ask(1, 2))
    set_states(get_run(session, "run_1"), {("load.per_region", 0): "running"}, session=session)
    found = grid_of(reread(plan, session), session, live=True)
    regions = said(found, "load.per_region")
    assert regions["run_1"] == "1 Running, 2 No Status, cleared"
    assert regions["run_2"] == "3 No Status, cleared"
    assert said(found, "load.publish")["run_1"] == "Success"
    assert describe(found.runs["run_1"]) == "Queued, cleared"
    undo(plan, "run_2")
    found = grid_of(reread(plan, session), session, live=True)
    assert said(found, "load.per_region")["run_2"] == "3 Success, restored"


def test_a_plan_whose_runs_are_gone_still_shows_itself(session, dag):
    plan = plan_of(ask(1, 2))
    for model in (TaskInstance, DagRun):
        session.execute(delete(model).where(model.run_id == "run_2"))
    session.commit()
    found = grid_of(plan, session)
    assert said(found, "load.per_region")["run_2"] == "3 Success → No Status; matched"
    assert sum(row.changed for row in found.rows) == 6


def test_a_plan_without_runs_has_no_grid(session, dag):
    plan = plan_of(ask(1, 1))
    for table in (plan_task_instance, plan_run):
        session.execute(table.delete().where(table.c.plan_id == UUID(plan.id)))
    session.commit()
    assert build(plan, Question(), session) is None


def test_bins_are_found_by_halving():
    starts = [START + n * DAY for n in range(100)]
    found = str(grid_queries.by_bin(grid_queries.Window(UUID(int=0), "x"), starts).element)
    depth = deepest = 0
    for word in found.replace("(", " ").replace(")", " ").split():
        depth += {"CASE": 1, "END": -1}.get(word, 0)
        deepest = max(deepest, depth)
    assert deepest == 7


def test_task_groups_that_wait_for_one_another(session):
    """Airflow 3.2 looks for their order for ever."""
    with DAG("sales", schedule=None, start_date=START) as dag:
        between = EmptyOperator(task_id="between")
        with TaskGroup("load") as load:
            EmptyOperator(task_id="last")
        between >> load
        EmptyOperator(task_id="first", task_group=load) >> between
    store_dag(dag, session=session)
    run = make_run(dag, session=session, run_id="run_1", logical_date=START, state="failed")
    set_states(run, dict.fromkeys(dag.task_ids, "failed"), session=session)
    plan = plan_of(Selection("sales", run_id=("run_1",), task_regex="between", include_downstream=True))
    assert plan.task_instances == 2
    grid = build(plan, Question(), session)
    assert {row.node.id for row in grid.rows} >= {"between", "load.first", "load.last"}
