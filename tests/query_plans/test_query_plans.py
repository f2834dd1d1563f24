"""A narrow range of a DAG with a long history costs what is in the range, not what is in the table."""

from __future__ import annotations

import resource
from typing import Any

import pytest
from airflow import settings
from sqlalchemy import text

from tests.query_plans.history import DAG_ID, HOUR, OTHER, OTHER_RUNS, RUNS, START, TASK_INSTANCES, TASKS
from tests.support.auth import bearer
from tests.support.options import chosen
from tests.support.query_plan import explaining, nodes, rows_read
from tests.views.actions import apply_all, get, path, progress, undo_all

pytestmark = pytest.mark.usefixtures("large")

FIRST, DAY = RUNS * 12 // 19, 24
MAX_MEMORY = 100_000 if chosen.full else 40_000
"""Kilobytes."""
MAX_HTML = 300_000
MAX_RANGES = 4
"""How often a statement may look at the rows of the range: before, in it and after, and once more."""
# How far back the estimate looks for durations: rows of each task.
DURATIONS = 100


def ask(client: Any, first: int, last: int, **more: Any) -> dict[str, Any]:
    body = {
        "dag_id": DAG_ID,
        "date_from": (START + first * HOUR).isoformat(),
        "date_to": (START + last * HOUR).isoformat(),
        **more,
    }
    answer = client.post("/safe_clear/plans", json=body, headers=bearer("admin"))
    assert answer.status_code == 201, answer.text
    plan: dict[str, Any] = answer.get_json()
    return plan


def look_around(client: Any, plan: dict[str, Any]) -> None:
    """Open everything that there is to be seen of a plan."""
    for rest in (
        "",
        ".json",
        "?sort=task&state=failed",
        "?grid=day",
        "/grid",
        "/rows",
        "/task_instances.csv",
    ):
        assert get(client, plan, rest).status_code == 200, rest
    for finding in plan["findings"]:
        assert client.get(
            path(plan, f"/findings/{finding['code']}"), headers=bearer("admin")
        ).status_code in (200, 404)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"task_regex": "^load_3$", "include_upstream": True, "include_downstream": True},
        {"state": ["failed"]},
    ],
    ids=["whole runs", "a chain", "failed ones"],
)
def test_a_day_of_a_long_history(client, options):
    with explaining(settings.engine) as found:
        plan = ask(client, FIRST, FIRST + DAY - 1, **options)
        look_around(client, plan)
    check(found)


@pytest.fixture
def much_has_no_state(large):
    """As after another large clear, of which the planner has not heard yet."""
    _set_state_beside(None)
    yield
    _set_state_beside("success")


def _set_state_beside(state: str | None) -> None:
    statement = text("UPDATE task_instance SET state = :state WHERE dag_id = :dag_id")
    with settings.engine.begin() as connection:
        written = connection.execute(statement, {"state": state, "dag_id": OTHER}).rowcount
    assert written == OTHER_RUNS * TASKS


@pytest.mark.usefixtures("much_has_no_state")
@pytest.mark.parametrize("tasks", [{}, {"task_regex": "^load_3$"}], ids=["whole runs", "a task of each"])
def test_clearing_and_undoing_a_day(client, tasks):
    plan = ask(client, FIRST, FIRST + DAY - 1, **tasks)
    wanted = DAY * (1 if tasks else TASKS)
    with explaining(settings.engine) as found:
        apply_all(client, plan, reason="because", confirm_dag_id=DAG_ID)
        assert progress(client, plan)["done"] == wanted
        assert undo_all(client, plan, reason="it was right")["done"] == wanted
    check(found)


@pytest.mark.usefixtures("much_has_no_state")
def test_clearing_a_day_in_waves(client):
    """The driver judges the runs that are cleared before each batch, and the page counts them after."""
    plan = ask(client, FIRST, FIRST + DAY - 1)
    waves = {"at_most_runs": DAY, "stop_after_failed": 1}
    with explaining(settings.engine) as found:
        apply_all(client, plan, reason="because", confirm_dag_id=DAG_ID, waves=waves)
        assert progress(client, plan)["waves"]["runs"]["running_again"] == DAY
    check(found)


def check(found: list[dict[str, Any]]) -> None:
    """Hold what was read of Airflow's tables against what there is in the range."""
    most = max(MAX_RANGES * (DAY + 2 * 3) * TASKS, DURATIONS * TASKS)
    scans = [(one["Query Text"], node) for one in found for node in nodes(one["Plan"])]
    of_task_instances = [one for one in scans if one[1].get("Relation Name") == "task_instance"]
    assert len(of_task_instances) > 10
    for query, node in of_task_instances:
        assert node["Node Type"] != "Seq Scan", query
        assert rows_read(node) <= most, query
    for query, node in scans:
        if node.get("Relation Name") == "dag_run":
            assert rows_read(node) <= RUNS / 10, query


def test_all_task_instances(client):
    """The whole DAG: the database does the work, and the server's memory does not follow its size."""
    look_around(client, ask(client, FIRST, FIRST + DAY - 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan = ask(client, 0, RUNS)
    assert plan["counts"]["task_instances"] == TASK_INSTANCES
    page = get(client, plan, "")
    look_around(client, plan)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_MEMORY
    assert len(page.text) < MAX_HTML


BY_TASKS = ("assets", "callbacks", "task_limits")


def test_lists_read_no_rows_of_other_plans(client):
    """The tasks behind a finding are looked up in the rows of the plan at hand."""
    ask(client, 0, RUNS)
    plan = ask(client, FIRST, FIRST + DAY - 1)
    assert {*BY_TASKS} <= {finding["code"] for finding in plan["findings"] if finding["rows"]}
    of_plan = DAY * (TASKS + 1)
    with explaining(settings.engine) as found:
        for code in BY_TASKS:
            answer = get(client, plan, f"/findings/{code}.json?offset=500").get_json()
            assert answer["total"] == answer["count"] == DAY * TASKS + (DAY if code == "callbacks" else 0)
            assert len(answer["items"]) == 100
    check_plan_tables(found, of_plan)


def check_plan_tables(found: list[dict[str, Any]], most: int) -> None:
    """Check that each scan of the plan's tables uses an index and reads at most ``most`` rows."""
    tables = ("safe_clear_plan_task_instance", "safe_clear_plan_run")
    scans = [(one["Query Text"], node) for one in found for node in nodes(one["Plan"])]
    of_plans = [one for one in scans if one[1].get("Relation Name") in tables]
    assert len(of_plans) > 10
    for query, node in of_plans:
        assert node["Node Type"] != "Seq Scan", query
        assert rows_read(node) <= most, query
