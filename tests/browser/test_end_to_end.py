"""Select, preview, confirm; the scheduler runs again exactly what the plan showed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from tests.browser.frames import confirm, open_tab, preview

RERUN_TIMEOUT = 400_000
PLANNED_RUNS = ("scheduled__2026-03-02T00:00:00+00:00", "scheduled__2026-03-03T00:00:00+00:00")
PLANNED_TASKS = ("load.customers", "load.orders")
PLANNED = {(run_id, task_id, -1) for run_id in PLANNED_RUNS for task_id in PLANNED_TASKS}

KEYS = {
    "dag_run": ("dag_id", "run_id"),
    "task_instance": ("dag_id", "run_id", "task_id", "map_index"),
    "task_instance_history": ("task_instance_id",),
    "xcom": ("dag_id", "run_id", "task_id", "map_index", "key"),
}
# What a clear, and then the scheduler, write on a dag run that runs again.
RERUN_COLUMNS = {
    "clear_number",
    "context_carrier",
    "end_date",
    "last_scheduling_decision",
    "queued_at",
    "scheduled_by_job_id",
    "start_date",
    "updated_at",
}

Rows = dict[tuple[Any, ...], dict[str, Any]]


def read(database) -> dict[str, Rows]:
    """Return every row of the tables that a clear and a run write, by key."""
    tables = {}
    for name, columns in KEYS.items():
        rows = database.execute(text(f"SELECT * FROM {name}")).mappings()
        tables[name] = {tuple(row[column] for column in columns): dict(row) for row in rows}
    return tables


def changed(before: Rows, after: Rows) -> set[tuple[Any, ...]]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def test_what_was_planned_runs_again_and_nothing_else_changes(airflow_server, database, page):
    airflow_server.login(page, "admin")
    frame = open_tab(airflow_server, page, "/dags/e2e_orders")
    preview(frame, task_regex=r"^load\.", date_from="2026-03-02", date_to="2026-03-03")

    expect(frame.get_by_role("heading", level=1)).to_have_text(
        "Clear 4 task instances in 2 runs of e2e_orders"
    )
    rows = frame.locator("table.by-run tbody tr:not(.run)")
    expect(rows.locator(".task b")).to_have_text(sorted(PLANNED_TASKS) * 2)
    expect(frame.locator("tr.run code")).to_have_text(PLANNED_RUNS)

    before = read(database)
    confirm(frame, "wrong exchange rates")
    expect(frame.get_by_text("Cleared as planned")).to_be_visible()
    expect(frame.get_by_text("wrong exchange rates")).to_be_visible()
    expect(frame.get_by_text("all finished")).to_be_visible(timeout=RERUN_TIMEOUT)
    expect(frame.locator("#progress .legend li")).to_have_text("4 Success")
    airflow_server.wait_for_runs("e2e_orders", 5)

    after = read(database)
    check_task_instances(before, after)
    check_dag_runs(before, after)
    check_xcom(before, after)


def check_task_instances(before, after) -> None:
    planned = {("e2e_orders", *key) for key in PLANNED}
    assert changed(before["task_instance"], after["task_instance"]) == planned
    for key in planned:
        old, new = before["task_instance"][key], after["task_instance"][key]
        assert new["id"] != old["id"]
        assert (old["try_number"], new["try_number"]) == (1, 2)
        assert (new["state"], new["dag_version_id"]) == ("success", old["dag_version_id"])

    history = after["task_instance_history"]
    written = changed(before["task_instance_history"], history)
    assert written == {(before["task_instance"][key]["id"],) for key in planned}
    assert {(row["run_id"], row["task_id"], row["map_index"]) for row in map(history.get, written)} == PLANNED
    assert {(history[key]["state"], history[key]["try_number"]) for key in written} == {("success", 1)}


def check_dag_runs(before, after) -> None:
    assert changed(before["dag_run"], after["dag_run"]) == {("e2e_orders", run_id) for run_id in PLANNED_RUNS}
    for run_id in PLANNED_RUNS:
        old, new = before["dag_run"]["e2e_orders", run_id], after["dag_run"]["e2e_orders", run_id]
        assert {column for column in old if old[column] != new[column]} <= RERUN_COLUMNS
        assert new["clear_number"] == old["clear_number"] + 1


def check_xcom(before, after) -> None:
    pushed = {("e2e_orders", *key, "return_value") for key in PLANNED}
    assert changed(before["xcom"], after["xcom"]) == pushed
    for key in pushed:
        assert f"{key[2]} try 1" in before["xcom"][key]["value"]
        assert f"{key[2]} try 2" in after["xcom"][key]["value"]


@pytest.fixture
def changing_dag(airflow_server):
    """Return a function that rewrites the DAG file and waits for the dag processor's new version."""
    file = airflow_server.dags_folder / "e2e_changing.py"
    before = file.read_text()

    def versions() -> int:
        answer = airflow_server.api("GET", "/api/v2/dags/e2e_changing/dagVersions")
        return int(answer.raise_for_status().json()["total_entries"])

    def change() -> None:
        known = versions()
        file.write_text(before.replace('"load"', '"load", retries=1'))
        airflow_server.parse("e2e_changing")
        airflow_server.wait_until(lambda: versions() == known + 1, "a new version of e2e_changing")

    return change


def test_dag_changed_since_the_preview(airflow_server, database, open_page, changing_dag):
    page = open_page(airflow_server)
    frame = open_tab(airflow_server, page, "/dags/e2e_changing")
    preview(frame, task_regex="^load$", date_from="2026-03-01", date_to="2026-03-02")
    changing_dag()
    before = read(database)

    with page.expect_response(re.compile("/apply$")) as answer:
        confirm(frame)
    assert answer.value.status == 409

    expect(frame.get_by_role("heading", level=1)).to_contain_text("Nothing was cleared")
    moved = frame.locator("table.moved tbody tr")
    expect(moved).to_have_count(2)
    for words in ("Dag version", "version 1", "version 2"):
        expect(moved.nth(0)).to_contain_text(words)
    expect(moved.nth(1)).to_contain_text("load")
    expect(moved.nth(1)).to_contain_text("retries of the task changed")
    assert read(database) == before

    frame.get_by_role("link", name="Preview again").click()
    expect(frame.locator("[name=task_regex]")).to_have_value("^load$")
    expect(frame.locator("[name=date_to]")).to_have_value("2026-03-02")
