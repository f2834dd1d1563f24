"""The history of plans with a million task instances, and of a long audit log."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow import settings
from sqlalchemy import text

from safe_clear_plugin.core.selection import Selection
from tests.query_plans.history import DAG_ID, HOUR, OTHER, RUNS, START, TASK_INSTANCES
from tests.support.auth import bearer
from tests.support.query_plan import explaining, nodes, rows_read

pytestmark = pytest.mark.usefixtures("large", "much_was_cleared")

SETS = 10
MADE_FROM = json.dumps({"chosen_by": "dag_ids", "dag_ids": [DAG_ID], "selection": Selection("").to_json()})
SMALL_PLANS, CLEARS, OTHER_EVENTS = 40, 30, 300_000
FEW = 2_000
"""A number of rows: more than a page of the history needs, far fewer than there are."""


def ask(client: Any, first: int, last: int, **more: Any) -> None:
    body = {
        "dag_id": DAG_ID,
        "date_from": (START + first * HOUR).isoformat(),
        "date_to": (START + last * HOUR).isoformat(),
        **more,
    }
    assert client.post("/safe_clear/plans", json=body, headers=bearer("admin")).status_code == 201


@pytest.fixture
def much_was_cleared(client: Any, large: None) -> Any:
    """Store a plan of the whole history and some of a few hours, as if cleared, and a long audit log."""
    ask(client, 0, RUNS)
    for number in range(SMALL_PLANS):
        ask(client, 100 * number, 100 * number + 3, task_regex="^load_3$")
    with settings.engine.begin() as connection:
        mark_as_applied(connection)
        group_into_sets(connection)
        write_audit_log(connection)
    vacuum()
    yield
    with settings.engine.begin() as connection:
        connection.execute(text("DELETE FROM log"))
        connection.execute(text("DELETE FROM safe_clear_plan_task_instance"))
        connection.execute(text("DELETE FROM safe_clear_plan"))
        connection.execute(text("DELETE FROM safe_clear_change_set"))
    vacuum()


def mark_as_applied(connection: Any) -> None:
    connection.execute(
        text(
            "UPDATE safe_clear_plan SET status = 'applied', applied_at = created_at,"
            " applied_by = created_by, applied_by_name = created_by_name, cleared = task_instances,"
            " cleared_runs = dag_runs"
        )
    )
    connection.execute(text("UPDATE safe_clear_plan_run SET applied_at = now()"))
    connection.execute(
        text(
            "INSERT INTO safe_clear_plan_batch (plan_id, number, kind, at, actor_id, actor_name,"
            " dag_runs, task_instances, first_run, last_run)"
            " SELECT id, 1, 'clear', now(), '1', 'me', dag_runs, task_instances, now(), now()"
            " FROM safe_clear_plan"
        )
    )


def group_into_sets(connection: Any) -> None:
    """Distribute the small plans over change sets."""
    connection.execute(
        text(
            "INSERT INTO safe_clear_change_set (id, made_from, left_out, fingerprint, created_by,"
            " created_by_name, created_at, expires_at, reason, applied_by, applied_by_name, applied_at)"
            " SELECT gen_random_uuid(), :made_from, '[]', '', '1', 'me', now(), now(), '', '1', 'me',"
            " now() FROM generate_series(1, :sets)"
        ),
        {"sets": SETS, "made_from": MADE_FROM},
    )
    connection.execute(
        text(
            "UPDATE safe_clear_plan SET change_set_id = of.id, position = of.number FROM ("
            " SELECT one.id AS plan_id, sets.id, one.number / :sets AS number FROM"
            " (SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM safe_clear_plan"
            "  WHERE dag_runs < 100) AS one"
            " JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM safe_clear_change_set)"
            " AS sets ON sets.number = one.number % :sets) AS of WHERE safe_clear_plan.id = of.plan_id"
        ),
        {"sets": SETS},
    )


def write_audit_log(connection: Any) -> None:
    """Write clears with Airflow's own means among many other events."""
    log = "INSERT INTO log (dttm, event, dag_id, task_id, run_id, owner, owner_display_name, extra)"
    connection.execute(
        text(
            f"{log} SELECT now() - n * interval '1 minute', 'success', '{DAG_ID}', 'load_3',"
            f" 'run_' || n % {RUNS}, 'me', 'me', '{{}}' FROM generate_series(1, {OTHER_EVENTS}) AS n"
        )
    )
    connection.execute(
        text(
            f"{log} SELECT now() - n * interval '1 hour', 'post_clear_task_instances', '{DAG_ID}', NULL,"
            f" 'run_' || 100 * n, 'me', 'me', :extra FROM generate_series(1, {CLEARS}) AS n"
        ),
        {"extra": '{"dry_run": false, "task_ids": ["load_3"]}'},
    )


def vacuum() -> None:
    tables = "log, safe_clear_plan, safe_clear_plan_run, safe_clear_plan_task_instance"
    with settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"VACUUM ANALYZE {tables}"))


RUN = "run_1000"
ASKED = {
    "all": ({}, SMALL_PLANS + 1 + CLEARS),
    "a task": ({"task_id": "load_3"}, SMALL_PLANS + 1 + CLEARS),
    "a task of the large plan": ({"dag_id": DAG_ID, "task_id": "extract_0"}, 1),
    "a run": ({"dag_id": DAG_ID, "run_id": RUN}, 3),
    "a task instance": ({"dag_id": DAG_ID, "task_id": "load_3", "run_id": RUN, "map_index": -1}, 3),
    "what is in none": ({"task_id": "nothing"}, 0),
    "another DAG": ({"dag_id": OTHER, "task_id": "load_3"}, 0),
    "sorted": ({"task_id": "load_3", "sort": "-task_instances", "offset": 20}, SMALL_PLANS + 1 + CLEARS),
}


def test_the_history_by_task_and_run(client):
    for name, (query, total) in ASKED.items():
        with explaining(settings.engine) as found:
            answer = client.get("/safe_clear/history.json", query_string=query, headers=bearer("admin"))
        assert answer.status_code == 200, answer.text
        assert answer.get_json()["total"] == total, name
        check(found, name)


def test_the_page_with_one_line_for_each_change_set(client):
    for name, (query, total) in ASKED.items():
        with explaining(settings.engine) as found:
            page = client.get(
                "/safe_clear/plans", query_string=query, headers={**bearer("admin"), "Accept": "text/html"}
            )
        assert page.status_code == 200
        if total > SMALL_PLANS:
            assert f"of {total - SMALL_PLANS + SETS} clears" in page.text, name
        check(
            [one for one in found if "safe_clear" in one["Query Text"] or "FROM log" in one["Query Text"]],
            name,
        )


def test_the_line_on_a_tab(client):
    tab = {"dag_id": DAG_ID, "task_id": "load_3", "run_id": RUN, "map_index": "-1"}
    with explaining(settings.engine) as found:
        page = client.get(
            "/safe_clear/select", query_string=tab, headers={**bearer("admin"), "Accept": "text/html"}
        )
    said = "This task instance was cleared 2 times with Safe Clear, and Airflow was asked to clear it once"
    assert said in page.text
    check(
        [one for one in found if "safe_clear" in one["Query Text"] or "FROM log" in one["Query Text"]], "line"
    )


def check(found: list[dict[str, Any]], name: str) -> None:
    scans = [(one["Query Text"], node) for one in found for node in nodes(one["Plan"])]
    tables = {
        "safe_clear_plan_task_instance": TASK_INSTANCES,
        "safe_clear_plan_run": RUNS,
        "log": OTHER_EVENTS,
    }
    seen = set()
    for query, node in scans:
        if (table := node.get("Relation Name")) in tables:
            seen.add(table)
            assert node["Node Type"] != "Seq Scan", (name, table, query)
            most = 3 * RUNS if name == "what is in none" and table != "log" else FEW
            assert rows_read(node) <= most, (name, query, node)
    assert "log" in seen, name
