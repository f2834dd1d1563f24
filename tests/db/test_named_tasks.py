"""A selection that names its tasks by their ids takes what a regex for the same tasks takes, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.plan_filters import RowFilter
from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.live_preview.selection_preview import preview_selection
from safe_clear_plugin.services.planning.derived_plans import plan_remaining
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.storage.tables import plan as plan_table
from safe_clear_plugin.web.select.draft import draft_in
from safe_clear_plugin.web.select.form import form_from_selection
from tests.db.acting import ME, days, now, plan_of
from tests.db.changed_dags import dag_of, store_history, task
from tests.db.test_excluding import any_run_id, store_mapped
from tests.support import options
from tests.support.factories import make_run
from tests.support.scenes import START, store_etl

__all__ = ["any_run_id"]

pytestmark = pytest.mark.backend

TASKS = ("extract", "transform", "load")


def rows(selection: Selection, session) -> set[tuple[str, int, str]]:
    session.rollback()
    found = plan_reader.task_instances(UUID(plan_of(selection).id), RowFilter(), session, limit=10_000)
    return {(row.task_id, row.map_index, row.run_id) for row in found if row.effect in CLEARED_EFFECTS}


def refused(selection: Selection, session) -> tuple[str, str]:
    """Return the field and the reason for which nothing is planned."""
    session.rollback()
    before = session.scalar(select(func.count()).select_from(plan_table))
    with pytest.raises(Invalid) as found:
        plan_of(selection)
    session.rollback()
    assert session.scalar(select(func.count()).select_from(plan_table)) == before
    (problem,) = found.value.problems
    return problem.field, problem.reason


@pytest.fixture
def dag(session):
    return store_etl(session, runs=2)


@pytest.mark.usefixtures("dag")
@settings(
    max_examples=options.examples(12),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    task_ids=st.lists(st.sampled_from(TASKS), min_size=1, unique=True).map(tuple),
    up=st.booleans(),
    down=st.booleans(),
    excluded=st.sampled_from([(), ("load",)]),
)
def test_ids_take_what_a_regex_for_them_takes(session, task_ids, up, down, excluded):
    more = {"include_upstream": up, "include_downstream": down, "exclude_task_id": excluded}
    by_regex = days(1, 2, task_regex=f"^({'|'.join(task_ids)})$", **more)
    by_ids = days(1, 2, task_ids=task_ids, **more)
    try:
        expected = rows(by_regex, session)
    except Invalid:
        refused(by_ids, session)
        return
    assert rows(by_ids, session) == expected
    counts = preview_selection(by_ids, now()).counts
    assert counts is not None
    assert counts.found.total == len(expected)


@pytest.mark.usefixtures("any_run_id")
def test_one_map_index_of_a_named_task(session):
    store_mapped(session)
    asked = days(1, 1, map_index=1, include_downstream=True)
    by_ids = replace(asked, task_ids=("load",))
    assert rows(by_ids, session) == rows(replace(asked, task_regex="^load$"), session)
    assert ("load", 1, "run_1") in rows(by_ids, session)


@pytest.mark.usefixtures("dag")
@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"task_ids": ("load", "laod")}, "task_ids", "etl has no task laod."),
        ({"task_ids": ("laod",)}, "task_ids", "etl has no task laod."),
        ({"task_ids": ("Load",)}, "task_ids", "etl has no task Load."),
        ({"task_ids": ("loa", "oad", "^load$", ".*")}, "task_ids", "etl has no 4 tasks."),
        (
            {"task_ids": ("load",), "task_regex": "load"},
            "task_ids",
            "Both a task regex and task ids choose the tasks.",
        ),
        (
            {"task_ids": ("load", "extract"), "map_index": 1},
            "map_index",
            "A map index needs one task or one mapped task group, but there are 2 tasks that share none: "
            "extract, load.",
        ),
    ],
)
def test_ids_that_name_no_task_are_refused(session, fields, field, reason):
    selection = days(1, 2, **fields)
    assert refused(selection, session) == (field, reason)
    said = [(one.field, one.reason) for one in preview_selection(selection, now()).problems]
    assert (field, reason) in said


def test_a_task_of_some_versions_only_is_no_mistake(session):
    def tasks(*task_ids: str) -> Callable[[], None]:
        return lambda: [task(task_id) for task_id in task_ids] and None

    store_history(session, tasks("kept", "old"), tasks("kept", "new"), runs=("run_1",))
    second = START.replace(day=2)
    make_run(
        dag_of(tasks("kept", "new")), session=session, run_id="run_2", logical_date=second, state="failed"
    )
    named = rows(days(1, 2, task_ids=("kept", "old", "new")), session)
    assert named == rows(days(1, 2, task_regex="^(kept|old|new)$"), session)
    assert named >= {("kept", -1, "run_1"), ("kept", -1, "run_2"), ("new", -1, "run_2")}
    first = days(1, 1, task_ids=("kept", "new"))
    assert rows(first, session) == {("kept", -1, "run_1")}
    field, reason = refused(days(1, 1, task_ids=("new",)), session)
    assert (field, reason[:39]) == ("task_ids", "This run has no task instance of `new`:")


@pytest.mark.usefixtures("dag")
def test_the_list_survives_the_form_and_what_is_derived_from_a_plan(session):
    selection = days(1, 2, task_ids=("load", "extract"))
    assert draft_in(form_from_selection(selection)).selection == selection
    assert Selection.from_json(json.loads(json.dumps(selection.to_json()))) == selection
    rest = plan_remaining(plan_of(selection), ME, now())
    assert rest.selection.task_ids == selection.task_ids
    assert selection.failed_and_skipped().task_ids == ()
