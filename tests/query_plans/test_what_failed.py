"""Failures in a large history with 5,000 DAGs are found by Airflow's own index on states."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow import settings
from sqlalchemy import text

from tests.query_plans.history import DAG_ID, OTHER, RUNS, START, TASKS
from tests.support.auth import bearer
from tests.support.query_plan import explaining, nodes, rows_read
from tests.support.threads import wait_for_clean_up

pytestmark = pytest.mark.usefixtures("large", "many_dags")

DAGS, RUNS_EACH = 5_000, 4
FAILED = 5 * RUNS // 5 + DAGS
"""Five task instances of each fifth run of the one large DAG, and one of each other DAG."""
COPY = """
    INSERT INTO {table} ({columns}) SELECT {values}
    FROM {table} AS one, generate_series(1, {dags}) AS d, generate_series(1, {runs}) AS r
    WHERE one.dag_id = '{other}' {where}
"""


def copies(table: str, values: dict[str, str], session: Any, where: str = "", runs: int = 1) -> None:
    """Write rows of the DAG beside again, once for each new DAG and run."""
    of_table = text("SELECT column_name FROM information_schema.columns WHERE table_name = :name")
    columns = [name for name in session.scalars(of_table, {"name": table}) if values.get(name) != ""]
    session.execute(
        text(
            COPY.format(
                table=table,
                columns=", ".join(columns),
                values=", ".join(values.get(name, f"one.{name}") for name in columns),
                dags=DAGS,
                runs=runs,
                other=OTHER,
                where=where,
            )
        )
    )


@pytest.fixture(scope="module")
def many_dags(large):
    """Store 5,000 DAGs with four runs of two task instances; in the last run one failed, an hour apart."""
    dag_id, run_id = "'team_' || d", "'run_' || r"
    last = f"(SELECT max(end_date) FROM task_instance WHERE dag_id = '{DAG_ID}')"
    ended = f"{last} - (d % 24) * interval '1 hour' - (4 - r) * interval '1 day'"
    with settings.NonScopedSession() as session:
        session.execute(text("SET session_replication_role = replica"))
        copies("dag", {"dag_id": dag_id}, session)
        copies(
            "dag_run",
            {
                "id": "",
                "dag_id": dag_id,
                "run_id": run_id,
                "state": "CASE WHEN r = 4 THEN 'failed' ELSE 'success' END",
                "logical_date": "one.logical_date + r * interval '1 day'",
                "end_date": ended,
            },
            session,
            "AND one.run_id = 'run_0'",
            RUNS_EACH,
        )
        copies(
            "task_instance",
            {
                "id": "gen_random_uuid()",
                "dag_id": dag_id,
                "run_id": run_id,
                "state": "CASE WHEN r = 4 AND one.task_id = 'load_1' THEN 'failed' ELSE 'success' END",
                "end_date": ended,
            },
            session,
            "AND one.run_id = 'run_0' AND one.task_id IN ('load_1', 'report_1')",
            RUNS_EACH,
        )
        session.execute(text("SET session_replication_role = DEFAULT"))
        session.commit()
    vacuum()
    yield
    with settings.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for table in ("task_instance", "dag_run", "dag"):
            connection.execute(text(f"DELETE FROM {table} WHERE dag_id LIKE 'team\\_%'"))
    vacuum()


def vacuum() -> None:
    with settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE task_instance, dag_run, dag"))


@pytest.fixture
def window(large):
    """Return the last day of the history."""
    with settings.engine.connect() as connection:
        last = connection.scalar(
            text("SELECT max(end_date) FROM task_instance WHERE dag_id = :dag_id"), {"dag_id": DAG_ID}
        )
    assert last > START
    return {"from": (last - timedelta(days=1)).isoformat(), "to": last.isoformat()}


def look(client: Any, **query: Any) -> dict[str, Any]:
    answer = client.get("/safe_clear/failed.json", query_string=query, headers=bearer("admin"))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


@pytest.mark.parametrize(
    ("more", "narrow"),
    [
        ({}, "true"),
        ({"dag_id_regex": "^team_12$"}, "dag_id = 'team_12'"),
        ({"limit": 200, "offset": 1_000}, "true"),
        ({"tag": "none"}, "false"),
    ],
    ids=["all", "one", "a late page", "a tag"],
)
def test_what_failed_in_a_day(client, window, more, narrow):
    with explaining(settings.engine) as found:
        listed = look(client, **window, **more)
    assert listed["complete"]
    with settings.engine.connect() as connection:
        query = (
            f"SELECT count(DISTINCT dag_id) FROM task_instance WHERE state = 'failed' AND {narrow}"
            " AND end_date BETWEEN :from AND :to"
        )
        expected = connection.scalar(text(query), window)
    assert listed["total"] == expected
    assert expected > 2_000 or narrow != "true"
    check(found)


def test_the_page_is_no_longer_than_its_rows(client, window):
    look(client, **window)
    page = client.get(
        "/safe_clear/failed", query_string=window, headers={**bearer("admin"), "Accept": "text/html"}
    )
    assert page.status_code == 200
    assert len(page.text) < 150_000


def test_a_preview_of_a_row_reads_what_failed_in_its_dag(client, window):
    (item,) = look(client, **window, dag_id_regex=f"^{DAG_ID}$")["items"]
    with explaining(settings.engine) as found:
        made = client.post("/safe_clear/plans", json=item["preview"]["body"], headers=bearer("admin"))
        wait_for_clean_up()
    assert made.status_code == 201, made.text
    assert made.get_json()["counts"]["by_state"]["failed"] == item["task_instances"]
    check(found)


def check(found: list[dict[str, Any]]) -> None:
    """Hold what was read of task instances against what is failed at all."""
    scans = [(one["Query Text"], node) for one in found for node in nodes(one["Plan"])]
    of_task_instances = [one for one in scans if one[1].get("Relation Name") == "task_instance"]
    assert of_task_instances
    for query, node in of_task_instances:
        assert node["Node Type"] != "Seq Scan", query
        assert rows_read(node) <= 2 * FAILED + 100 * TASKS, query
