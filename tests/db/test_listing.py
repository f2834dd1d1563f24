"""A plan's task instances as pages: those of a list that is not cut, in the same order."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from safe_clear_plugin.core.plan_filters import RowFilter
from safe_clear_plugin.storage.plans import plan_rows
from tests.db.acting import days, plan_of
from tests.support.factories import make_run, set_states
from tests.support.scenes import START, store_etl

pytestmark = pytest.mark.backend

TASKS = ("extract", "transform", "load")


@pytest.fixture
def plan(session):
    """Plan nine runs, two of them of the same moment, one not due in the order of its logical date."""
    dag = store_etl(session, runs=6)
    for number, day in enumerate((2, 2, 4)):
        date = START.replace(day=day) + timedelta(hours=1)
        run = make_run(dag, session=session, run_id=f"manual_{number}", logical_date=date if number else None)
        run.run_after = START.replace(day=5 - number)
        set_states(run, dict.fromkeys(TASKS[: number + 1], "running"), session=session)
    session.commit()
    return plan_of(days(1, 7, running="leave_out"))


@pytest.mark.parametrize("sort", ["", "run", "-run", "task", "-state"])
@pytest.mark.parametrize("wanted", [RowFilter(), RowFilter(task="t")], ids=["all", "some"])
@pytest.mark.parametrize("size", [1, 2, 4, 50])
def test_pages_are_parts_of_the_whole(session, plan, sort, wanted, size):
    plan_id = UUID(plan.id)
    whole = list(plan_rows.stream(plan_id, wanted, sort, session, limit=1_000))
    pages = [
        plan_rows.rows(plan_id, wanted, sort, session, offset=offset, limit=size)
        for offset in range(0, len(whole) + size, size)
    ]
    assert len({row.run_id for row in whole}) > 6
    assert {row.effect for row in whole} == {"clear", "leave_out"}
    assert [len(page) for page in pages[:-2]] == [size] * (len(pages) - 2)
    assert [row for page in pages for row in page] == whole
