"""How the pages put moments and outcomes into words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.stop_reason import StopKind, StopReason
from safe_clear_plugin.web.app.moments import (
    when_brief,
    when_day,
    when_days,
    when_full,
    when_minute,
    when_span,
)
from safe_clear_plugin.web.history import history_lines
from safe_clear_plugin.web.history.outcomes import outcome
from safe_clear_plugin.web.receipt.receipt_page import describe_receipt

NOW = datetime(2026, 11, 4, 3, 12, 9, tzinfo=timezone.utc)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def plan(**fields):
    return PlanSummary(
        **{
            "id": "0" * 32,
            "status": "applied",
            "dag_id": "etl",
            "selection": Selection(dag_id="etl"),
            "run_on_latest_version": False,
            "dag_versions": (),
            "fingerprint": "f" * 64,
            "created_by": "1",
            "created_by_name": "ada",
            "created_at": NOW,
            "expires_at": NOW + HOUR,
            "task_instances": 6,
            "dag_runs": 3,
            "cleared": 6,
            "cleared_runs": 3,
            "last_step_at": NOW,
            **fields,
        }
    )


def test_moments():
    local = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert when_full(local) == "2026-11-04 03:12:09 UTC"
    assert when_minute(local) == "03:12 UTC"
    assert when_day(local, NOW) == "Wed 4 Nov"
    assert when_day(NOW - 400 * DAY, NOW) == "Tue 30 Sep 2025"


def test_spans():
    start = NOW.replace(hour=0, minute=0, second=0)
    assert when_span(start, start) == "2026-11-04 00:00 UTC"
    assert when_span(start, start + HOUR) == "2026-11-04 00:00 to 01:00 UTC"
    assert when_span(start, start + DAY) == "2026-11-04 00:00 to 2026-11-05 00:00 UTC"


def test_days_of_runs():
    start = NOW.replace(hour=0, minute=0)
    assert when_days(start, start) == "4 Nov 2026"
    assert when_days(start, start + 2 * DAY) == "4 Nov to 6 Nov 2026"
    assert when_days(start, start + HOUR) == "4 Nov 2026 00:00 to 01:00"
    assert when_days(start + HOUR, start + DAY) == "4 Nov 01:00 to 5 Nov 2026 00:00"
    assert when_days(start - 400 * DAY, start) == "30 Sep 2025 to 4 Nov 2026"


def test_briefly():
    assert when_brief(NOW - HOUR, NOW) == "today 02:12"
    assert when_brief(NOW - DAY, NOW) == "3 Nov 03:12"
    assert when_brief(NOW - 400 * DAY, NOW) == "30 Sep 2025 03:12"


@pytest.mark.parametrize(
    ("task_regex", "shown"),
    [
        ("^load$", "load"),
        (r"^load\.per_region$", "load.per_region"),
        ("^load", "^load"),
        ("^a|b$", "^a|b$"),
        ("", ""),
    ],
)
def test_an_expression_for_one_task_is_shown_as_the_task(task_regex, shown):
    assert history_lines.task_text(Selection("etl", task_regex=task_regex)) == shown


@pytest.mark.parametrize(
    ("task_ids", "shown", "only"),
    [
        (("load",), "load", "load"),
        (("a", "b"), "a, b", ""),
        (tuple("abc"), "3 tasks", ""),
        ((), "", ""),
    ],
)
def test_a_list_of_tasks_is_shown_short(task_ids, shown, only):
    selection = Selection("etl", task_ids=task_ids)
    assert (history_lines.task_text(selection), history_lines.one_task(selection)) == (shown, only)


HALF = {"cleared": 2, "cleared_runs": 1}
BY_ADA = StopReason(StopKind.STOPPED, "Stopped by ada.", by="ada")
DRIFT = StopReason(StopKind.DRIFT, "1 thing moved.", total=1)
UNDONE = {"status": "undone", "undo_asked_runs": 3, "undone_runs": 3}


@pytest.mark.parametrize(
    ("fields", "in_the_list", "on_the_receipt"),
    [
        ({}, "Applied", "Cleared 6 task instances in 3 runs of etl"),
        (
            {"status": "stopped", "stop_reason": BY_ADA, **HALF},
            "Stopped",
            "2 of 6 task instances were cleared; the other 4 were not changed",
        ),
        (
            {"status": "stopped", "stop_reason": DRIFT, "cleared": 5, "cleared_runs": 2},
            "Partly applied",
            "5 of 6 task instances were cleared; the other 1 was not changed",
        ),
        (
            {"status": "stopped", "stop_reason": DRIFT, "cleared": 0, "cleared_runs": 0},
            "Stopped",
            "Nothing was cleared",
        ),
        (
            {"status": "stopped", "stop_reason": StopReason(StopKind.INTERRUPTED), **HALF},
            "Partly applied",
            "2 of 6 task instances were cleared; the other 4 were not changed",
        ),
        ({**UNDONE, "put_back": 6}, "Undone", "All 6 task instances were restored"),
        ({**UNDONE, "put_back": 1, "stayed": 5}, "Undone in part", "1 of 6 task instances was restored"),
        ({**UNDONE, "stayed": 6}, "Nothing restored", "None of 6 task instances could be restored"),
        (
            {"undo_asked_runs": 1, "undone_runs": 1, "put_back": 2},
            "Undone in part",
            "2 of 6 task instances were restored",
        ),
    ],
)
def test_outcomes(fields, in_the_list, on_the_receipt):
    one = plan(**fields)
    assert outcome(one, NOW).text == in_the_list
    assert describe_receipt(one, []).title == on_the_receipt


def test_outcomes_that_have_no_receipt():
    assert outcome(plan(status="ready"), NOW).text == "Ready"
    assert outcome(plan(status="ready"), NOW + HOUR).text == "Expired"
    assert outcome(plan(status="stale"), NOW).text == "Not applied: out of date"
    assert outcome(plan(status="applying", **HALF), NOW).text == "Clearing"
    assert outcome(plan(undo_asked_runs=3, undone_runs=1), NOW).text == "Undoing"
