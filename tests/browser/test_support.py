"""The browser and the Airflow that the browser tests stand on."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import create_engine, text


def test_history_was_run_by_the_scheduler(airflow_server):
    engine = create_engine(airflow_server.sqlalchemy_url)
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT dag_id, state, try_number, count(*) FROM task_instance GROUP BY 1, 2, 3 ORDER BY 1")
        ).all()
    engine.dispose()
    assert [tuple(row) for row in rows] == [("e2e_team_a", "success", 1, 12), ("e2e_team_b", "success", 1, 1)]


@pytest.mark.parametrize(
    ("user", "seen"),
    [
        ("admin", {"e2e_team_a", "e2e_team_b"}),
        ("operator", {"e2e_team_a"}),
        ("viewer", {"e2e_team_a", "e2e_team_b"}),
        ("nobody", None),
    ],
)
def test_dags_that_each_user_sees(airflow_server, user, seen):
    answer = airflow_server.api("GET", "/api/v2/dags", user=user)
    if seen is None:
        assert answer.status_code == 403
    else:
        assert {dag["dag_id"] for dag in answer.json()["dags"]} == seen


def test_login_opens_airflow(airflow_server, page: Page):
    airflow_server.login(page, "operator")
    page.goto(f"{airflow_server.url}/dags/e2e_team_a")
    expect(page.get_by_role("heading", name="e2e_team_a").first).to_be_visible()
    page.goto(f"{airflow_server.url}/dags")
    expect(page.get_by_text("e2e_team_a").first).to_be_visible()
    expect(page.get_by_text("e2e_team_b")).to_have_count(0)
