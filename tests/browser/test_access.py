"""Who may not clear is told so, and nobody is logged out by looking."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.frames import address, confirm_button, open_tab, preview, session_cookie

SELECTION = {"task_regex": "^extract$", "date_from": "2026-03-01", "date_to": "2026-03-05"}


@pytest.fixture(scope="module")
def plan_of(airflow_server):
    """Return a function that has admin plan to clear a DAG, and gives the page of the plan."""

    def make(dag_id: str) -> str:
        answer = airflow_server.api(
            "POST", "/pluginsv2/safe_clear/plans", json={"dag_id": dag_id, **SELECTION}
        )
        assert answer.status_code == 201, answer.text
        return address(airflow_server, f"plans/{answer.json()['id']}")

    return make


def test_viewer_may_look_and_not_clear(airflow_server, open_page, plan_of):
    page = open_page(airflow_server, "viewer")
    frame = open_tab(airflow_server, page, "/dags/e2e_orders")
    expect(frame.get_by_role("heading", level=1)).to_have_text("History")
    expect(frame.locator("#filter-dag_id")).to_have_value("e2e_orders")

    answer = page.goto(plan_of("e2e_orders"))
    assert answer.status == 200
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Clear 5 task instances in 5 runs of e2e_orders"
    )
    expect(page.get_by_text("You can view this plan, but you can’t clear it.")).to_be_visible()
    expect(confirm_button(page)).to_have_count(0)
    expect(page.locator("form[method=post]")).to_have_count(0)


def test_operator_of_another_team(airflow_server, open_page, plan_of):
    page = open_page(airflow_server, "operator")
    frame = open_tab(airflow_server, page, "/dags/e2e_orders")
    frame.get_by_role("combobox", name="Dag").click()
    expect(frame.locator("#dag-list [role=option]")).to_have_text(["e2e_changing", "e2e_orders"])

    frame.locator("[name=dag_id]").fill("e2e_team_b")
    expect(frame.locator("#dag-list")).to_have_text("No matching Dag that you can clear")
    frame.locator("[name=date_from]").fill("2026-03-01")
    with page.expect_response(re.compile("/plans$")) as answer:
        frame.get_by_role("button", name="Preview").click()
    assert answer.value.status == 404
    expect(frame.locator("main")).to_contain_text("This Dag doesn't exist.")

    for hidden in (address(airflow_server, "?dag_id=e2e_team_b"), plan_of("e2e_team_b")):
        answer = page.goto(hidden)
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
        assert "extract" not in page.content()


def test_anonymous_logs_in_and_comes_back(airflow_server, page):
    page.goto(address(airflow_server, "?dag_id=e2e_orders&task_regex=x"))
    expect(page).to_have_url(re.compile("/auth/login"))
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill("admin")
    page.locator("input[name=password]").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("What should run again?")
    expect(page).to_have_url(address(airflow_server, "?dag_id=e2e_orders&task_regex=x"))


@pytest.mark.parametrize(("user", "own_page"), [("admin", "users/list/"), ("viewer", "users/userinfo/")])
def test_nobody_is_logged_out(airflow_server, open_page, plan_of, user, own_page):
    page = open_page(airflow_server, user)
    cookie = session_cookie(page.context)
    assert cookie

    def still_logged_in() -> None:
        assert session_cookie(page.context) == cookie
        answer = page.request.get(f"{airflow_server.url}/auth/{own_page}", max_redirects=0)
        assert answer.status == 200

    still_logged_in()
    for ours in (address(airflow_server), plan_of("e2e_orders"), address(airflow_server, "no/such/page")):
        page.goto(ours)
        still_logged_in()
    if user == "admin":
        page.goto(address(airflow_server, "?dag_id=e2e_orders"))
        still_logged_in()
        # The token in the form was made before that visit to Airflow's own pages.
        preview(page, **SELECTION)
        still_logged_in()
        page.request.post(address(airflow_server, "plans"), form={"dag_id": "e2e_orders"})
        still_logged_in()
