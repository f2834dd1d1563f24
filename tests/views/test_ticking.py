"""The ticks of the start page: several Dags make a change set, one makes a plan; and refusals."""

from __future__ import annotations

import html
import re

import pytest
from sqlalchemy import update

from tests.support.auth import TEAM_A, TEAM_A_ROLE, login
from tests.views.actions import press, title
from tests.views.change_set_pages import fail, tick

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]

START = "/safe_clear/"


@pytest.fixture
def open_start(client):
    def open_page(user="admin", query=""):
        login(client, user)
        return client.get(f"/safe_clear/failed?{query}" if query else START).text

    return open_page


def boxes(page):
    """Return the boxes by the DAG that they tick."""
    found = re.findall(r'<input type="checkbox" name="dag_ids" value="([^"]+)"([^>]*)>', page)
    return dict(found)


def ticked(page):
    return sorted(dag_id for dag_id, rest in boxes(page).items() if " checked" in rest)


def test_several_dags_become_one_change_set(client, session, open_start):
    fail(session, "one", "two", "three")
    page = open_start()
    assert sorted(boxes(page)) == ["one", "three", "two"]
    answer = tick(client, page, "one", "two")
    assert answer.status_code == 303, answer.text
    assert re.search(r"/change_sets/[0-9a-f]{32}$", answer.location)
    found = client.get(answer.location)
    assert found.status_code == 200
    assert title(found.text) == "Clear 4 task instances in 2 Dags"
    assert "three" not in found.text


def test_one_dag_becomes_a_plan(client, session, open_start):
    fail(session, "one", "two")
    answer = tick(client, open_start(), "one")
    assert answer.status_code == 303, answer.text
    assert re.search(r"/plans/[0-9a-f]{32}$", answer.location)
    assert title(client.get(answer.location).text) == "Clear 2 task instances in 1 run of one"


def test_the_set_has_the_window_of_the_page(client, session, open_start):
    fail(session, "one", "two")
    answer = tick(client, open_start(query="from=-2h"), "one", "two")
    made = client.get(f"{answer.location}.json").get_json()
    selection = made["made_from"]["selection"]
    assert (selection["include_downstream"], selection["include_setups"]) == (True, True)
    assert made["made_from"]["dag_ids"] == ["one", "two"]
    assert made["made_from"]["chosen_by"] == "failed"
    assert selection["failed_from"] < selection["failed_to"]


def test_nothing_ticked_is_said(client, session, open_start):
    fail(session, "one", "two")
    answer = tick(client, open_start())
    assert answer.status_code == 422
    assert title(answer.text) == "What failed"
    assert "No Dag is ticked." in answer.text


def test_what_was_cleared_meanwhile_is_named_and_the_rest_is_offered(client, session, open_start):
    from airflow.models.taskinstance import TaskInstance

    fail(session, "one", "two", "three")
    page = open_start(query="from=-2h&dag_id_regex=t?")
    gone = update(TaskInstance).where(TaskInstance.dag_id == "two").values(state="success")
    session.execute(gone)
    session.commit()
    answer = tick(client, page, "one", "two", "three")
    assert answer.status_code == 422
    text = html.unescape(answer.text)
    assert "two can’t be part of this" in re.sub("<[^>]+>", "", text)
    assert ticked(answer.text) == ["one", "three"]
    assert 'name="dag_id_regex" value="t?"' in answer.text
    again = press(client, answer.text, "Preview without it")
    assert again.status_code == 303, again.text
    assert title(client.get(again.location).text) == "Clear 4 task instances in 2 Dags"


def test_the_last_one_that_is_left_becomes_a_plan(client, session, open_start):
    from airflow.models.taskinstance import TaskInstance

    fail(session, "one", "two")
    page = open_start()
    session.execute(update(TaskInstance).where(TaskInstance.dag_id == "two").values(state="success"))
    session.commit()
    again = press(client, tick(client, page, "one", "two").text, "Preview without it")
    assert again.status_code == 303, again.text
    assert "/plans/" in again.location


def test_a_single_dag_that_is_refused_offers_nothing(client, session, open_start):
    from airflow.models.taskinstance import TaskInstance

    fail(session, "one", "two")
    page = open_start()
    session.execute(update(TaskInstance).where(TaskInstance.dag_id == "two").values(state="success"))
    session.commit()
    answer = tick(client, page, "two")
    assert answer.status_code == 422
    assert "Preview without" not in answer.text
    assert "two" in answer.text


def test_a_dag_that_one_may_not_clear_cannot_be_ticked_and_says_why(
    client, session, open_start, auth_manager_name
):
    if auth_manager_name != "fab":
        pytest.skip("its users may clear all Dags or none")
    fail(session, "one", access_control=TEAM_A)
    fail(session, "seen", access_control={TEAM_A_ROLE: {"DAGs": {"can_read"}}})
    page = open_start("operator")
    assert " disabled" in boxes(page)["seen"]
    assert " disabled" not in boxes(page)["one"]
    assert "You can’t clear it" in page
    answer = tick(client, page, "one", "seen")
    assert answer.status_code == 403
    assert "can’t be part of this" in html.unescape(answer.text)
    again = press(client, answer.text, "Preview without it")
    assert again.status_code == 303


def test_a_run_that_failed_by_itself_cannot_be_ticked_and_says_why(client, session, open_start):
    from airflow.models.dagrun import DagRun

    from tests.views.change_set_pages import HOUR, NOW

    fail(session, "one")
    fail(session, "alone", states={})
    session.execute(update(DagRun).where(DagRun.dag_id == "alone").values(end_date=NOW - HOUR))
    session.commit()
    page = open_start()
    assert " disabled" in boxes(page)["alone"]
    assert "No task instance failed" in page


def test_a_viewer_has_no_boxes(session, open_start):
    fail(session, "one", "two")
    page = open_start("viewer")
    assert boxes(page) == {}
    assert 'id="preview"' not in page


def test_another_window_than_the_page_shows_is_refused(client, session, open_start):
    fail(session, "one", "two")
    page = open_start()
    form = {"csrf_token": re.search(r'name="csrf_token" value="([^"]+)"', page)[1]}
    answer = client.post("/safe_clear/failed", data={**form, "dag_ids": ["one"], "failed_from": "x"})
    assert answer.status_code == 422
    assert "failed_from" in answer.text or "failed_to" in answer.text
    assert client.post("/safe_clear/failed", data={"dag_ids": ["one"]}).status_code == 403


def test_a_program_is_told_as_json(client, session):
    from tests.support.auth import bearer

    fail(session, "one")
    body = {"dag_ids": ["one", "nowhere"], "failed_from": "2026-01-01", "failed_to": "2036-01-01"}
    answer = client.post("/safe_clear/failed", json=body, headers=bearer("admin"))
    assert answer.status_code == 422, answer.text
    assert [dag["dag_id"] for dag in answer.get_json()["dags"]] == ["nowhere"]
