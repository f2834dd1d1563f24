"""What a plan says of itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from safe_clear_plugin.core.plan_text import headline, sentence
from safe_clear_plugin.core.selection import Selection

FIRST = datetime(2026, 11, 1, tzinfo=timezone.utc)
LAST = datetime(2026, 11, 3, 23, 59, 59, 999999, tzinfo=timezone.utc)


def test_headline():
    selection = Selection("sales_etl")
    assert headline(selection, 1, 1) == "Clear 1 task instance in 1 run of sales_etl"
    assert (
        headline(selection, 12_400, 78, done=True) == "Cleared 12,400 task instances in 78 runs of sales_etl"
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"task_regex": "^load", "date_from": FIRST, "date_to": LAST, "include_downstream": True},
            "Tasks matching ^load, in runs with logical date from Sun 2026-11-01 00:00 UTC to "
            "Tue 2026-11-03 23:59 UTC. Includes all downstream tasks, and setup and teardown tasks. "
            "Running task instances are left out.",
        ),
        (
            {"run_id": ("a",), "running": "terminate"},
            "All tasks, in run a. Running task instances are terminated and started again.",
        ),
        (
            {"run_id": ("a", "b", "c", "d"), "state": ("failed", "none")},
            "All tasks in state Failed or No Status, in 4 runs. Running task instances are left out.",
        ),
        (
            {"date_from": FIRST, "date_to": LAST, "include_past": True},
            "All tasks, in runs with logical date up to Tue 2026-11-03 23:59 UTC. "
            "Running task instances are left out.",
        ),
        (
            {"date_from": FIRST, "include_past": True, "include_future": True},
            "All tasks, in every run with a logical date, past and future. "
            "Running task instances are left out.",
        ),
        (
            {
                "date_from": FIRST,
                "run_type": ("manual",),
                "run_state": ("failed",),
                "date_field": "run_after",
            },
            "All tasks, in manual runs in state Failed with run after from Sun 2026-11-01 00:00 UTC. "
            "Running task instances are left out.",
        ),
        (
            {"task_regex": "^a$", "map_index": 3, "run_id": ("r",), "exclude_task_id": ("b",)},
            "Tasks matching ^a$ [3], in run r. Includes setup and teardown tasks. Without task b. "
            "Running task instances are left out.",
        ),
        (
            {"task_ids": ("a",), "map_index": 3, "run_id": ("r",)},
            "Task a [3], in run r. Includes setup and teardown tasks. Running task instances are left out.",
        ),
        (
            {"task_ids": ("a", "b"), "run_id": ("r",), "include_downstream": True},
            "Tasks a, b, in run r. Includes all downstream tasks, and setup and teardown tasks. "
            "Running task instances are left out.",
        ),
        (
            {"task_ids": tuple("abcd"), "run_id": ("r",), "state": ("failed",)},
            "4 tasks in state Failed, in run r. Includes setup and teardown tasks in the same states. "
            "Running task instances are left out.",
        ),
        (
            {"date_from": FIRST, "include_past": True, "date_field": "run_after"},
            "All tasks, in every run, past and future. Running task instances are left out.",
        ),
        (
            {"run_id": ("a",), "date_from": FIRST, "include_future": True},
            "All tasks, in run a with logical date from Sun 2026-11-01 00:00 UTC and every run after it "
            "by logical date. Running task instances are left out.",
        ),
        (
            {"run_id": ("a", "b"), "include_past": True, "run_state": ("failed",)},
            "All tasks, in runs a, b and every run before them by logical date (runs in state Failed only). "
            "Running task instances are left out.",
        ),
        (
            {"run_id": ("r",), "reset_dag_runs": False},
            "All tasks, in run r. Running task instances are left out. "
            "Dag runs keep their state, so nothing in finished runs will start.",
        ),
    ],
)
def test_sentence(fields, said):
    assert sentence(Selection("sales_etl", **fields), on_latest=False) == said


def test_sentence_names_the_move_to_the_latest_version():
    selection = Selection("d", run_id=("r",))
    assert "Runs move to the latest Dag version." in sentence(selection, on_latest=True)
    kept = sentence(replace(selection, reset_dag_runs=False), on_latest=True)
    assert "Runs move" not in kept
    assert "Task instances move to the latest Dag version." in kept
