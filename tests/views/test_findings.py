"""The list of what a clear causes, on the plan's page and for programs, and what is behind each point."""

from __future__ import annotations

import html
import re
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from airflow.models.dagrun import DagRun
from sqlalchemy import select

from safe_clear_plugin.findings.registry import CHECKS
from safe_clear_plugin.storage.tables import plan as plan_table
from tests.support.auth import TEAM_B, bearer, login
from tests.support.factories import make_run, set_states, store_dag
from tests.support.scenes import START, etl_dag, store_etl
from tests.views.actions import boxes, forms, get, make, path, post, press_and_follow

DONE = dict.fromkeys(("extract", "transform", "load"), "success")
SUMMARY = re.compile(
    r'<div class="heading"><h2 id="findings-title">(.*?)</h2>\s*(?:<p>(.*?)</p>)?', re.DOTALL
)
TITLE = re.compile(
    r'<span class="title[^>]*>(.*?)</span>\s*(?:<span class="mark[^"]*">(.*?)</span>)?', re.DOTALL
)


@pytest.fixture
def done(session):
    """Three runs that succeeded."""
    store_dag(etl_dag(), session=session)
    for day in (1, 2, 3):
        run = make_run("etl", session=session, run_id=f"run_{day}", logical_date=START.replace(day=day))
        set_states(run, DONE, session=session)


def stale(client, **more):
    """Plan to clear ``extract`` and nothing of what is downstream of it."""
    return make(client, task_regex="^extract$", include_downstream=False, **more)


def titles(page):
    """Return the points of the list with their marks."""
    plain = [(re.sub(r"<[^>]+>", "", title), mark) for title, mark in TITLE.findall(page)]
    return [(html.unescape(title).strip(), mark) for title, mark in plain]


def test_the_list_goes_from_the_gravest_to_the_mildest(client, done):
    plan = stale(client)
    login(client, "admin")
    page = client.get(path(plan)).text
    assert SUMMARY.search(page).groups()[0] == "Before you clear"
    marks = [mark for _, mark in titles(page)]
    assert marks[:2] == ["Acknowledge", "warning"]
    assert marks == sorted(marks, key=["Acknowledge", "warning", "note", ""].index)
    assert titles(page)[0][0] == (
        "6 downstream task instances will go stale: load and transform succeeded in 3 runs and are not in "
        "this plan"
    )
    assert set(boxes(page)) == {"stale_downstream"}


def test_the_checks_that_found_nothing_are_named(client, done):
    plan = stale(client)
    login(client, "admin")
    page = client.get(path(plan)).text
    found = {finding["code"] for finding in plan["findings"]}
    quiet = [check.looks_for for check in CHECKS if check.code not in found]
    assert f"{len(quiet)} other checks found nothing" in page
    listed = re.search(r'<ul class="looks">(.*?)</ul>', page, re.DOTALL)[1]
    assert [html.unescape(one) for one in re.findall(r"<li>(.*?)</li>", listed)] == quiet


def test_a_finding_offers_a_wider_plan(client, done):
    plan = stale(client)
    login(client, "admin")
    page = client.get(path(plan)).text
    wide = press_and_follow(client, page, "Preview with downstream")
    assert "Clear 9 task instances in 3 runs of etl" in wide
    assert "stale" not in " ".join(title for title, _ in titles(wide))


def test_a_program_widens_too_but_only_what_a_finding_may(client, done):
    plan = stale(client)
    answer = client.post(path(plan, "/widen"), data={"field": "include_past"}, headers=bearer("admin"))
    assert answer.status_code == 422
    answer = client.post(path(plan, "/widen"), data={"field": "include_downstream"}, headers=bearer("admin"))
    assert answer.status_code == 201
    assert answer.get_json()["selection"]["include_downstream"] is True
    answer = client.post(path(plan, "/widen"), data={"field": "include_downstream"}, headers=bearer("viewer"))
    assert answer.status_code == 403


def test_what_is_behind_a_finding(client, done):
    plan = stale(client)
    login(client, "admin")
    page = client.get(path(plan)).text
    address = html.unescape(re.search(r'href="([^"]*/plans/[^"]*/findings/stale_downstream)"', page)[1])
    rows = client.get(address).text
    assert rows.count("<bdi>transform</bdi>") == rows.count("<bdi>load</bdi>") == 3
    assert rows.count('class="why"><bdi>extract</bdi>') == 6
    answer = get(client, plan, "/findings/stale_downstream.json?limit=2&offset=1").get_json()
    assert (answer["count"], answer["total"], len(answer["items"])) == (6, 6, 2)
    assert answer["items"][0] == {
        "run_id": "run_1",
        "task_id": "transform",
        "map_index": -1,
        "rendered_map_index": None,
        "state": "success",
        "try_number": 1,
        "foreseen_state": None,
        "because_of": "extract",
        "effect": None,
        "details": [],
    }


def test_the_page_says_when_it_has_changed_since(client, done, session):
    plan = stale(client)
    first = session.scalars(select(DagRun).where(DagRun.run_id == "run_1")).one()
    set_states(first, {"load": "failed"}, session=session)
    login(client, "admin")
    assert "5 now; 6 when the plan was created" in client.get(path(plan, "/findings/stale_downstream")).text


def test_findings_of_the_plan_s_own_rows_lead_to_its_table(client, done):
    plan = stale(client)
    login(client, "admin")
    page = client.get(path(plan)).text
    href = re.search(r'href="([^"]*state=success[^"]*)">Show the 3 task instances', page)[1]
    shown = client.get(html.unescape(href).partition("#")[0]).text
    assert shown.count("<bdi>extract</bdi>") >= 3


@pytest.mark.parametrize("code", ["not_in_dag", "success_redone", "nonsense", "..%2F..", "<b>"])
def test_no_such_finding(client, done, code):
    plan = stale(client)
    for rest in ("", ".json"):
        assert get(client, plan, f"/findings/{code}{rest}").status_code == 404


def test_who_may_not_read_the_dag_sees_no_finding(client, session, auth_manager_name):
    if auth_manager_name == "simple":
        pytest.skip("SimpleAuthManager knows no permissions per DAG")
    store_etl(session, access_control=TEAM_B)
    plan = make(client, task_regex="^extract$", include_downstream=False)
    for rest in ("", ".json"):
        assert get(client, plan, f"/findings/downstream_stays{rest}", user="operator").status_code == 404
        assert get(client, plan, f"/findings/downstream_stays{rest}", user="viewer").status_code == 200


def test_a_reader_may_look_but_neither_tick_nor_widen(client, done):
    plan = stale(client)
    login(client, "viewer")
    page = client.get(path(plan)).text
    assert 'name="acknowledge"' not in page
    assert '<span class="mark">to acknowledge</span>' in page
    assert not [form for form in forms(page) if form["action"].endswith("/widen")]
    rows = client.get(path(plan, "/findings/stale_downstream")).text
    assert "Preview with downstream" not in rows


def test_an_expired_plan_has_nothing_to_tick(client, done):
    plan = stale(client)
    login(client, "admin")
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(minutes=40), tick=False):
        page = get(client, plan, "").text
    assert 'name="acknowledge"' not in page
    assert '<span class="mark">to acknowledge</span>' in page


def test_upstream_failed_shows_what_becomes_of_each(client, session):
    store_etl(session)
    plan = make(client, task_regex="^load$", include_downstream=False)
    login(client, "admin")
    page = client.get(path(plan)).text
    assert "3 cleared task instances will fail immediately:" in page
    rows = client.get(path(plan, "/findings/upstream_failed")).text
    assert rows.count('class="why"><bdi>transform</bdi>') == 3
    assert rows.count("becomes") >= 3
    wide = press_and_follow(client, page, "Preview with upstream")
    assert "become upstream_failed" not in wide


def test_a_plan_keeps_its_reason_when_it_is_widened(client, done, session):
    plan = stale(client)
    session.execute(plan_table.update().values(reason="bad <input>"))
    session.commit()
    login(client, "admin")
    wide = press_and_follow(client, client.get(path(plan)).text, "Preview with downstream")
    assert "bad &lt;input&gt;</textarea>" in wide


def test_confirming_takes_the_ticks(client, done):
    plan = stale(client)
    answer = post(client, plan, "apply", acknowledge=[])
    assert answer.status_code == 422
    answer = post(client, plan, "apply", acknowledge=["stale_downstream"])
    assert answer.status_code == 202
