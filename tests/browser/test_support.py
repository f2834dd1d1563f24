"""The browser and the Airflow that the browser tests stand on."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from sqlalchemy import text


def test_dag_processor_found_the_dags_as_they_were_prepared(airflow_server, database):
    query = text("SELECT count(*) FROM dag_version WHERE dag_id = :dag_id")
    for dag_id in ("e2e_orders", "e2e_team_b"):
        assert database.execute(query, {"dag_id": dag_id}).scalar() == 1


@pytest.mark.parametrize(
    ("user", "seen"),
    [
        ("admin", {"e2e_orders", "e2e_changing", "e2e_team_b"}),
        ("operator", {"e2e_orders", "e2e_changing"}),
        ("viewer", {"e2e_orders", "e2e_changing", "e2e_team_b"}),
        ("nobody", None),
    ],
)
def test_dags_that_each_user_sees(airflow_server, user, seen):
    answer = airflow_server.api("GET", "/api/v2/dags", user=user)
    if seen is None:
        assert answer.status_code == 403
    else:
        assert {dag["dag_id"] for dag in answer.json()["dags"]} == seen


def test_login_opens_airflow(airflow_server, open_page):
    page = open_page(airflow_server, "operator")
    page.goto(f"{airflow_server.url}/dags")
    expect(page.get_by_text("e2e_orders").first).to_be_visible()
    expect(page.get_by_text("e2e_team_b")).to_have_count(0)
