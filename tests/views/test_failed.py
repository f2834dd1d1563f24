"""The start page and its JSON: what failed, in the DAGs that the caller may see."""

from __future__ import annotations

import html
import re
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import update

from safe_clear_plugin.storage.tables import plan_task_instance
from tests.support.auth import TEAM_A, bearer, login
from tests.support.factories import make_run, set_states
from tests.support.scenes import store_etl
from tests.views.actions import press, title

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]

NOW = datetime.now(timezone.utc)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PAGE, JSON = "/safe_clear/failed", "/safe_clear/failed.json"
FAILED = {"transform": "failed", "load": "upstream_failed"}


def fail(session, dag_id="etl", *, ago=HOUR, runs=1, states=FAILED, **options):
    """Store a DAG with runs in which something failed so long ago; return the DAG."""
    dag = store_etl(session, dag_id, runs=0, **options)
    for number in range(runs):
        run = make_run(dag, session=session, run_id=f"run_{number}", task_state="success", state="failed")
        set_states(run, states, session=session, end_date=NOW - ago)
    return dag


def failed(client, user="admin", status=200, **query):
    answer = client.get(JSON, query_string=query, headers=bearer(user))
    assert answer.status_code == status, answer.text
    return answer.get_json()


def dag_ids(client, user="admin", **query):
    return [item["dag_id"] for item in failed(client, user, **query)["items"]]


@pytest.fixture
def open_page(client):
    def get(user="admin", **query):
        login(client, user)
        return client.get(PAGE if query or user == "viewer" else "/safe_clear/", query_string=query)

    return get


def test_the_start_page_is_what_failed_in_the_last_day(client, session, open_page):
    fail(session, "etl", runs=2)
    fail(session, "long_ago", ago=DAY + HOUR)
    answer = open_page()
    assert answer.status_code == 200
    assert title(answer.text) == "What failed"
    assert "1 Dag</h2>" in answer.text
    assert "4 task instances in 2 Dag runs" in answer.text
    assert "long_ago" not in answer.text
    assert 'href="/safe_clear/select"' in answer.text


def test_the_json_says_what_failed(client, session, auth_manager_name):
    fail(session, runs=2, tags=["daily"])
    found = failed(client)
    assert found["total"] == 1
    assert found["totals"] == {"dags": 1, "dag_runs": 2, "task_instances": 4}
    (item,) = found["items"]
    assert item["by_state"] == {"failed": 2, "upstream_failed": 2}
    assert (item["task_instances"], item["dag_runs"], item["this_week"]) == (4, 2, 2)
    assert item["by_day"] == [0, 0, 0, 0, 0, 0, 2]
    assert item["tags"] == ["daily"]
    assert item["first_failed_task"]["task_id"] == "transform"
    assert datetime.fromisoformat(item["failed_since"]) == NOW - HOUR
    body = item["preview"]["body"]
    assert (body["failed_from"], body["failed_to"]) == (found["from"], found["to"])


def test_the_preview_of_a_row_has_what_the_row_counts_and_what_is_downstream(client, session):
    fail(session, runs=2, states={"extract": "failed"})
    make_run(store_etl(session, runs=0), session=session, run_id="good", task_state="success")
    (item,) = failed(client)["items"]
    preview = item["preview"]
    made = client.post(preview["url"], json=preview["body"], headers=bearer("admin"))
    assert made.status_code == 201, made.text
    plan = made.get_json()
    assert plan["counts"]["by_state"] == {"failed": item["task_instances"], "success": 4}
    assert plan["counts"]["dag_runs"] == item["dag_runs"] == 2


def test_one_click_leads_to_the_plan(client, session, open_page):
    fail(session)
    answer = press(client, open_page().text, "Preview etl")
    assert answer.status_code == 303, answer.text
    assert "Clear 2 task instances in 1 run of etl" in html.unescape(client.get(answer.location).text)


def test_what_was_cleared_meanwhile_is_said_on_the_form(client, session, open_page):
    dag = fail(session)
    shown = open_page().text
    run = make_run(dag, session=session, run_id="other", task_state="success")
    session.execute(
        update(type(run.task_instances[0]))
        .where(type(run.task_instances[0]).dag_id == "etl")
        .values(state=None)
    )
    session.commit()
    answer = press(client, shown, "Preview etl")
    assert answer.status_code == 422
    assert "It may have been cleared since" in answer.text


def test_a_viewer_sees_what_failed_and_is_offered_nothing_that_is_refused(client, session, open_page):
    fail(session, access_control={})
    assert dag_ids(client, "viewer") == ["etl"]
    assert failed(client, "viewer")["items"][0]["preview"] is None
    text = open_page("viewer").text
    assert "etl" in text
    assert 'method="post"' not in text
    assert "can’t clear their task instances" in text


def test_a_dag_that_the_caller_may_not_see_does_not_exist_for_them(
    client, session, open_page, auth_manager_name
):
    if auth_manager_name == "simple":
        pytest.skip("SimpleAuthManager knows no permissions per DAG")
    fail(session, "etl", access_control=TEAM_A, tags=["shared"])
    fail(session, "secret", ago=MINUTE, runs=3, tags=["shared", "covert"], states={"extract": "failed"})
    assert dag_ids(client) == ["secret", "etl"]
    for query in ({}, {"tag": "shared"}, {"dag_id_regex": "e"}, {"state": "failed"}, {"limit": 1}):
        found = failed(client, "operator", **query)
        assert found["totals"] == {"dags": 1, "dag_runs": 1, "task_instances": 2}, query
        assert "secret" not in str(found), query
        assert found["items"][0]["preview"], query
        text = open_page("operator", **query).text
        assert "secret" not in text, query
        assert "covert" not in text, query
    for query in ({"tag": "covert"}, {"dag_id_regex": "^secret$"}):
        assert failed(client, "operator", **query)["total"] == 0, query
    assert failed(client, "nobody")["total"] == 0
    assert "etl" not in open_page("nobody").text


def test_a_window_between_two_times(client, session):
    fail(session, "early", ago=5 * HOUR)
    fail(session, "late", ago=HOUR)
    between = {"from": (NOW - 6 * HOUR).isoformat(), "to": (NOW - 4 * HOUR).isoformat()}
    assert dag_ids(client, **between) == ["early"]
    assert dag_ids(client, **{"from": "-2h"}) == ["late"]
    assert dag_ids(client, **{"from": "-6h", "to": "-4h"}) == ["early"]
    clock = (NOW - 5 * HOUR - MINUTE).strftime("%H:%M"), (NOW - 5 * HOUR + 2 * MINUTE).strftime("%H:%M")
    assert dag_ids(client, **{"from": clock[0], "to": clock[1]}) == ["early"]
    assert dag_ids(client, to="-4h") == ["early"]


def test_filters_narrow_together(client, session):
    fail(session, "sales_etl", tags=["daily", "sales"])
    fail(session, "sales_report", tags=["daily"], states={"transform": "failed"})
    fail(session, "ledger", states={"load": "upstream_failed"})
    assert set(dag_ids(client)) == {"sales_etl", "sales_report", "ledger"}
    assert set(dag_ids(client, dag_id_regex="^sales_")) == {"sales_etl", "sales_report"}
    assert dag_ids(client, dag_id_regex="^sales_", tag="sales") == ["sales_etl"]
    assert set(dag_ids(client, tag=["sales", "daily"])) == {"sales_etl", "sales_report"}
    assert set(dag_ids(client, state="failed")) == {"sales_etl", "sales_report"}
    assert set(dag_ids(client, state="upstream_failed")) == {"sales_etl", "ledger"}
    assert dag_ids(client, state="failed_run") == []
    assert dag_ids(client, owner="nobody else") == []
    assert len(dag_ids(client, owner="airflow")) == 3


def test_a_run_that_failed_without_a_failed_task_is_shown_without_a_preview(client, session, open_page):
    dag = store_etl(session, runs=0)
    run = make_run(dag, session=session, run_id="run_1", task_state="skipped", state="failed")
    run.end_date = NOW - HOUR
    session.commit()
    (item,) = failed(client)["items"]
    assert (item["failed_dag_runs"], item["task_instances"], item["preview"]) == (1, 0, None)
    assert dag_ids(client, state="failed_run") == ["etl"]
    text = open_page().text
    assert "No task instance" in text
    assert 'href="/safe_clear/select?dag_id=etl&amp;run_state=failed"' in text


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"from": ""}, "from", "is empty"),
        ({"to": " "}, "to", "Enter a time (02:00)"),
        ({"from": "yesterday"}, "from", "Enter a time (02:00)"),
        ({"from": "-1h", "to": "-2h"}, "to", "is later than"),
        ({"from": "0001-01-01"}, "from", "Enter a time"),
        ({"timezone": "Europe/Atlantis"}, "timezone", "Unknown time zone"),
        ({"dag_id_regex": "lo[ad"}, "dag_id_regex", "missing ]"),
        ({"dag_id_regex": ""}, "dag_id_regex", "is empty"),
        ({"dag_id_regex": "(a{1000}){1000}"}, "dag_id_regex", ""),
        ({"dag_id_regex": "x" * 501}, "dag_id_regex", "at most 500"),
        ({"tag": ""}, "tag", "is empty"),
        ({"tag": ["daily", ""]}, "tag", ""),
        ({"tag": [f"t{number}" for number in range(51)]}, "tag", "at most 50"),
        ({"owner": " me"}, "owner", "spaces"),
        ({"state": "faild"}, "state", "faild is not a choice"),
        ({"state": "success"}, "state", "is not a choice"),
        ({"state": ["failed", "failed_run"]}, "state", "more than once"),
        ({"limit": "0"}, "limit", "at least 1"),
        ({"limit": "201"}, "limit", "at most 200"),
        ({"offset": "-1"}, "offset", ""),
        ({"tags": "daily"}, "tags", "doesn't exist"),
        ({"dag_id": "etl"}, "dag_id", "doesn't exist"),
    ],
)
def test_a_filter_that_is_empty_or_misspelt_is_refused(client, session, query, field, words):
    fail(session)
    refusal = failed(client, status=422, **query)
    assert words in refusal["errors"][field][0]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"from": "nonsense"}, "from"),
        ({"from": "-1h", "to": "-2h"}, "to"),
        ({"timezone": "Nowhere"}, "timezone"),
        ({"dag_id_regex": "(("}, "dag_id_regex"),
        ({"state": "x"}, "state"),
    ],
)
def test_the_page_marks_the_field_that_is_wrong_and_lists_nothing(session, open_page, query, name):
    fail(session)
    answer = open_page(**query)
    assert answer.status_code == 422
    assert f'aria-describedby="wrong-{name}"' in answer.text
    assert f'id="wrong-{name}"' in answer.text
    assert "<table" not in answer.text
    assert "Nothing was searched" in answer.text


def test_empty_fields_of_the_page_do_not_narrow(session, open_page):
    fail(session)
    answer = open_page(
        **{"from": "", "to": "", "timezone": "", "dag_id_regex": "", "tag": "", "owner": "", "state": ""}
    )
    assert answer.status_code == 200
    assert "1 Dag</h2>" in answer.text


def test_nothing_failed(session, open_page):
    store_etl(session)
    assert "Nothing failed in this time" in open_page().text
    assert "No matching Dag failed" in open_page(dag_id_regex="x").text


def test_pages_of_dags(client, session, open_page):
    for number in range(5):
        fail(session, f"dag_{number}", ago=HOUR + number * MINUTE)
    assert dag_ids(client, limit=2, offset=2) == ["dag_2", "dag_3"]
    assert failed(client, limit=2)["totals"]["dags"] == 5
    text = open_page(limit="2", offset="2", dag_id_regex="dag").text
    assert "3 to 4 of 5 Dags" in text
    assert "offset=0&amp;" in text
    assert "dag_id_regex=dag" in text
    assert dag_ids(client, limit=2, offset=99) == ["dag_0", "dag_1"]


def test_hostile_names_are_text(client, session, open_page):
    fail(session, "a.b-c_d", tags=['"><script>alert(1)</script>', "{{ 7 * 7 }}"])
    text = open_page(dag_id_regex='<b x="1">|a').text
    assert "<script>alert" not in text
    assert '<b x="1">' not in text
    assert "{{ 7 * 7 }}" in html.unescape(text)
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\bon[a-z]+=", text)


def test_a_search_that_takes_too_long_is_ended_with_an_answer(client, session, open_page, monkeypatch):
    fail(session)
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__PREVIEW_TIMEOUT", "0.000001")
    refusal = failed(client, status=503)
    assert "took longer than 1e-06 s" in refusal["error"]
    assert "preview_timeout" in refusal["remedy"]
    answer = open_page()
    assert answer.status_code == 503
    assert "took longer than" in answer.text
    assert 'name="from"' in answer.text


def test_nothing_is_written(client, session, open_page):
    from tests.support.snapshots import diff_snapshots, snapshot

    fail(session)
    before = snapshot(session)
    open_page()
    failed(client)
    assert diff_snapshots(before, snapshot(session)) == {}
    assert session.query(plan_task_instance).count() == 0


def test_the_form_and_its_places_keep_their_addresses(client, session, open_page):
    fail(session)
    login(client, "admin")
    for address in ("/safe_clear/?dag_id=etl", "/safe_clear/select?dag_id=etl", "/safe_clear/select"):
        assert title(client.get(address).text) == "What should run again?", address
    answer = client.get("/safe_clear/?dag_id=etl&failed_from=2026-01-01&include_downstream=true")
    assert 'name="failed_from"' in answer.text
    assert 'value="2026-01-01"' in answer.text
