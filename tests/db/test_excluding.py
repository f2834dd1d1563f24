"""What is taken out by name: whole runs, single task instances. All else is what Airflow answers."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import DAG, task
from airflow.serialization.definitions.dag import SerializedDAG
from sqlalchemy import insert

from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.plan_filters import RowFilter
from safe_clear_plugin.core.plan_text import sentence
from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.web.select.draft import draft_in
from safe_clear_plugin.web.select.form import SelectionForm, form_from_selection
from tests.db.acting import clear, days, plan_of
from tests.support.factories import make_run, set_states, store_dag, task_instances
from tests.support.scenes import START, store_etl

ODD = 'it\'s_"b",_ü'


@pytest.fixture
def any_run_id(monkeypatch):
    """Allow any run id, as an Airflow may be configured."""
    monkeypatch.setenv("AIRFLOW__SCHEDULER__ALLOWED_RUN_ID_PATTERN", ".+")


def as_keys(keys) -> tuple[TaskInstanceKey, ...]:
    return tuple(map(TaskInstanceKey.from_json, keys))


def one_key(*key) -> dict[str, tuple[TaskInstanceKey, ...]]:
    return {"exclude_task_instance": (TaskInstanceKey(*key),)}


def store_mapped(session) -> SerializedDAG:
    with DAG("etl", schedule=None, start_date=START) as dag:

        @task
        def load(n: int) -> int:
            return n

        @task
        def report() -> None:
            pass

        load.expand(n=[1, 2, 3]) >> report()
    stored = store_dag(dag, session=session)
    for day in (1, 2, 3):
        run_id = ODD if day == 2 else f"run_{day}"
        run = make_run(dag, session=session, run_id=run_id, logical_date=START.replace(day=day))
        set_states(run, {"load": "success", "report": "failed"}, session=session)
    return stored


def planned(selection: Selection, session) -> set[tuple[str, int, str]]:
    plan = plan_of(selection)
    rows = plan_reader.task_instances(UUID(plan.id), RowFilter(), session, limit=10_000)
    assert plan.task_instances == len(rows)
    return {(row.task_id, row.map_index, row.run_id) for row in rows}


def airflows(dag: SerializedDAG, session, first: int, last: int) -> set[tuple[str, int, str]]:
    found = dag.clear(
        dry_run=True,
        start_date=START.replace(day=first),
        end_date=START.replace(day=last),
        session=session,
    )
    return {(ti.task_id, ti.map_index, ti.run_id) for ti in found}


@pytest.mark.parametrize(
    ("runs", "keys"),
    [
        ((), ()),
        (("run_1",), ()),
        (("run_1", ODD), ()),
        ((), (("load", 1, "run_1"),)),
        ((), (("load", 1, ODD), ("load", 2, ODD), ("report", -1, "run_3"))),
        (("run_3",), (("load", 0, "run_1"), ("report", -1, "run_3"))),
    ],
)
def test_the_plan_is_airflows_answer_without_what_is_excluded(session, any_run_id, runs, keys):
    dag = store_mapped(session)
    everything = airflows(dag, session, 1, 3)
    assert len(everything) == 12
    expected = {key for key in everything if key[2] not in runs and key not in keys}
    selection = days(1, 3, exclude_run_id=runs, exclude_task_instance=as_keys(keys))
    assert planned(selection, session) == expected


def test_past_and_future_start_from_a_run_that_is_itself_excluded(session):
    store_etl(session)
    selection = Selection("etl", run_id=("run_2",), include_future=True, exclude_run_id=("run_2",))
    assert {key[2] for key in planned(selection, session)} == {"run_3"}


def test_ten_thousand_are_taken_out_at_once(session):
    store_etl(session, runs=1)
    (row,) = [ti for ti in task_instances_of(session) if ti.task_id == "load"]
    columns = TaskInstance.__table__.c
    copied = {c.name: getattr(row, c.name) for c in columns if c.name not in ("id", "map_index")}
    from uuid6 import uuid7

    many = [{**copied, "id": uuid7(), "map_index": index} for index in range(10_003)]
    session.execute(insert(TaskInstance.__table__), many)
    session.commit()
    keys = tuple(("load", index, "run_1") for index in range(10_000))
    selection = days(1, 1, task_regex="load", exclude_task_instance=as_keys(keys))
    assert {key[1] for key in planned(selection, session)} == {-1, 10_000, 10_001, 10_002}


def task_instances_of(session):
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    return task_instances(session.scalars(select(DagRun)).one(), session=session)


@pytest.mark.parametrize(
    ("excluded", "field", "words"),
    [
        ({"exclude_run_id": ("run_2", "rnu_1")}, "exclude_run_id", "no dag run rnu_1"),
        (
            {"exclude_task_instance": (TaskInstanceKey("run_1", "lod", -1),)},
            "exclude_task_instance",
            "lod of run_1",
        ),
        (
            {"exclude_task_instance": (TaskInstanceKey("run_1", "load", 0),)},
            "exclude_task_instance",
            "load [0] of run_1",
        ),
        (
            {"exclude_task_instance": (TaskInstanceKey("run_9", "load", -1),)},
            "exclude_task_instance",
            "load of run_9",
        ),
    ],
)
def test_what_is_not_there_cannot_be_excluded(session, excluded, field, words):
    store_etl(session)
    store_etl(session, "other", runs=9)
    with pytest.raises(Invalid) as refused:
        plan_of(days(1, 3, **excluded))
    (problem,) = refused.value.problems
    assert problem.field == field
    assert words in problem.reason


def test_what_is_excluded_is_not_cleared(session):
    store_etl(session)
    keys = (("transform", -1, "run_1"), ("load", -1, "run_2"))
    plan = clear(days(1, 3, exclude_run_id=("run_3",), exclude_task_instance=as_keys(keys)))
    assert (plan.task_instances, plan.dag_runs) == (4, 2)
    session.rollback()
    for ti in session.query(TaskInstance):
        kept = ti.run_id == "run_3" or (ti.task_id, -1, ti.run_id) in keys
        assert (ti.state is not None) == kept, ti


def test_the_sentence_says_so():
    keys = (("load", 1, ODD), ("load", 2, ODD))
    said = sentence(
        days(
            1,
            1,
            exclude_task_id=("a",),
            exclude_run_id=("b", "c"),
            exclude_task_instance=as_keys(keys),
        ),
        on_latest=False,
    )
    assert "Without task a, runs b, c and 2 single task instances." in said
    assert "Without run b." in sentence(days(1, 1, exclude_run_id=("b",)), on_latest=False)


def test_the_form_reads_what_it_writes():
    keys = (("lo\\ad", -1, ODD), ("börse", 3, " spaces "))
    selection = Selection(
        "etl",
        run_id=("r",),
        exclude_run_id=("x", "y"),
        exclude_task_instance=as_keys(keys),
    )
    draft = draft_in(form_from_selection(selection))
    assert (draft.broken, draft.selection) == ({}, selection)
    assert Selection.from_json(json.loads(json.dumps(selection.to_json()))) == selection


@pytest.mark.parametrize(
    "line",
    ["load", "[]", '["load", "1", "run_1"]', '["load", true, "run_1"]', '["load", -2, "run_1"]',
     '["load", 1, "run_1", 2]', '{"a": 1, "b": 2, "c": 3}', '["load", 1, "a\\u0000"]',
     '["load", 1, "\\ud800"]', '["load", 4294967296, "run_1"]', "[" * 100_000, '"abc"'],
)  # fmt: skip
def test_a_line_that_is_no_task_instance_is_an_error(line):
    from werkzeug.datastructures import MultiDict

    form = SelectionForm(MultiDict({"dag_id": "etl", "exclude_task_instance": line}))
    assert list(draft_in(form).broken) == ["exclude_task_instance"]
