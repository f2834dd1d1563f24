"""The history shows a change set once, with its totals and its outcome; for programs a plan stays an item."""

from __future__ import annotations

import html
import re

import pytest
from sqlalchemy import update

from safe_clear_plugin.services.change_sets.stored import get_change_set
from safe_clear_plugin.storage.tables import plan as plan_table
from tests.support.auth import TEAM_A, TEAM_B, bearer, login
from tests.views.actions import post
from tests.views.change_set_pages import SETS, apply_set, drive_set, fail, make_set

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]

HISTORY = "/safe_clear/plans"


@pytest.fixture(autouse=True)
def dags(session, auth_manager_name):
    fab = auth_manager_name == "fab"
    fail(session, "one", "two", **({"access_control": TEAM_A} if fab else {}))
    fail(session, "three", **({"access_control": TEAM_B} if fab else {}))


def lines(client, query="", user="admin"):
    """Return the cells of each line of the page as text, and the page."""
    login(client, user)
    answer = client.get(f"{HISTORY}{query}")
    assert answer.status_code == 200
    body = re.search(r"<tbody>(.*?)</tbody>", answer.text, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL) if body else []
    return [
        re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", row))).strip() for row in rows
    ], answer.text


def cleared(client, *dag_ids, **body):
    made = make_set(client, *dag_ids, **body)
    assert apply_set(client, made, reason="bad rates").status_code == 202
    drive_set(made["id"])
    return made


def test_a_set_is_one_line_with_its_totals(client):
    made = cleared(client, "one", "two", "three")
    (line,), page = lines(client)
    assert "3 Dags change set one, three + 1" in line
    assert "Dags: one, three, two" in line
    assert "6 task instances in 3 runs" in line
    assert line.endswith("admin Applied")
    assert "bad rates" in line
    assert f'<a href="{SETS}/{made["id"]}"><b>' in page
    assert all(f'href="{plan["url"]}"' not in page for plan in made["plans"])
    assert "1 to 1 of 1 clear" in page


def test_every_filter_by_one_of_its_dags_finds_the_set(client):
    cleared(client, "one", "two")
    for query in ("?dag_id=two", "?dag_id=one&task_id=load", "?run_id=run_0", "?user=ADM", "?status=applied"):
        (line,), _ = lines(client, query)
        assert line.count("2 Dags") == 1, query
    for query in ("?dag_id=three", "?task_id=nothing", "?status=undone", "?drafts=true", "?user=operator"):
        assert lines(client, query)[0] == [], query


def test_its_outcome_is_that_of_all_its_plans(client, session):
    made = cleared(client, "one", "two")
    post(client, made["plans"][0], "undo")
    drive_set(made["id"])
    (line,), _ = lines(client, "?status=applied")
    assert "Undone in part" in line
    assert "2 of 4 restored" in line
    post(client, made["plans"][1], "undo")
    drive_set(made["id"])
    (line,), _ = lines(client, "?status=undone")
    assert line.endswith("Undone")
    stopped = make_set(client, "three", "one")
    apply_set(client, stopped, reason="x")
    client.post(f"{SETS}/{stopped['id']}/stop", json={}, headers=bearer("admin"))
    (line,), _ = lines(client, "?status=stopped")
    assert line.endswith("Stopped")
    assert "0 of 4 cleared" in line
    session.execute(update(plan_table).where(plan_table.c.dag_id == "three").values(status="stale"))
    session.commit()
    assert get_change_set(stopped["id"]).stopped_plan.dag_id
    (line,), _ = lines(client, "?status=stale")
    assert "out of date" in line


def test_a_draft_is_one_line_too_and_declined_ones_say_by_whom(client, monkeypatch):
    made = make_set(client, "one", "two")
    assert lines(client)[0] == []
    (line,), page = lines(client, "?drafts=true")
    assert "2 Dags change set" in line
    assert "Ready" in line
    assert made["url"] in page
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "1")
    asked = client.post(f"{SETS}/{made['id']}/ask", json={"reason": "please"}, headers=bearer("admin"))
    assert asked.status_code == 200
    (line,), _ = lines(client, "?status=waiting")
    assert line.endswith("Waiting for approval")
    client.post(f"{SETS}/{made['id']}/decline", json={"reason": "no"}, headers=bearer("operator"))
    (line,), _ = lines(client, "?status=declined")
    assert "by operator" in line.lower() or "Declined" in line


def test_who_may_not_see_all_its_dags_sees_the_plans_that_they_may(client, auth_manager_name):
    if auth_manager_name == "simple":
        pytest.skip("SimpleAuthManager lets every user read")
    made = cleared(client, "one", "two", "three")
    for query in ("", "?dag_id=one"):
        found, page = lines(client, query, "operator")
        assert len(found) == (1 if query else 2)
        assert all("Dags" not in line for line in found)
        assert "three" not in page.replace("three_", "")
        assert "6 task instances" not in page
    assert lines(client, "", "nobody")[0] == []
    assert made["plans"][0]["url"] in page


def test_programs_get_an_item_for_each_plan_with_the_id_of_the_set(client):
    made = cleared(client, "one", "two")
    body = client.get("/safe_clear/history.json", headers=bearer("admin")).get_json()
    assert body["total"] == 2
    assert [one["plan"]["change_set"] for one in body["items"]] == [made["id"]] * 2


def test_sets_and_plans_are_paged_together(client):
    cleared(client, "one", "two")
    alone = make_set(client, "three")
    apply_set(client, alone, reason="x")
    drive_set(alone["id"])
    seen = []
    for offset in (0, 1):
        (line,), page = lines(client, f"?limit=1&offset={offset}&sort=-task_instances")
        assert f"{offset + 1} to {offset + 1} of 2 clears" in page
        seen.append(line)
    assert "2 Dags" in seen[0]
    assert "1 Dag change set three" in seen[1]
