"""From a plan's page to a change set of it and of the Dags that wait for it."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser

import pytest
import time_machine
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import DAG
from sqlalchemy import func, select, update

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.services.change_sets import sensor_search
from safe_clear_plugin.storage.tables import change_set
from safe_clear_plugin.storage.tables import plan as plan_table
from tests.support.auth import TEAM_A, TEAM_B, bearer, login
from tests.support.factories import make_run, store_dag
from tests.support.scenes import START, store_etl
from tests.views.actions import forms, path, press, title, words

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]

HOUR = timedelta(hours=1)
LOAD = {"external_dag_id": "etl", "external_task_id": "load"}
BUTTON = "for this"


@pytest.fixture
def fab(auth_manager_name):
    return auth_manager_name == "fab"


@pytest.fixture(autouse=True)
def etl(session, fab):
    store_etl(session, runs=2, **({"access_control": TEAM_A} if fab else {}))


@pytest.fixture
def store_waiting(session, fab):
    """Store a DAG with sensors before ``after``, and two runs; the team is one of FAB's."""

    def store(dag_id, team=TEAM_A, shift=timedelta(), mapped=False, **sensors):
        ours = {"access_control": team} if fab else {}
        with DAG(dag_id, schedule=None, start_date=START, **ours) as dag:
            after = EmptyOperator(task_id="after")
            for task_id, options in (sensors or {"wait": LOAD}).items():
                if mapped:
                    sensor = ExternalTaskSensor.partial(
                        task_id=task_id, **options, execution_delta=shift
                    ).expand(poke_interval=[1])
                else:
                    sensor = ExternalTaskSensor(task_id=task_id, **options)
                _ = sensor >> after
        store_dag(dag, session=session)
        for day in (1, 2):
            date = START.replace(day=day) + shift
            make_run(dag, session=session, logical_date=date, run_id=f"run_{day}", state="success")

    return store


@pytest.fixture
def preview(client):
    """Plan to clear ``transform`` and ``load``, and return the plan and its page."""

    def make_and_open(user="admin", **body):
        wanted = {"task_regex": "^transform$", "include_downstream": True, "run_id": ["run_1"]}
        body = {"dag_id": "etl", **wanted, **body}
        plan = client.post("/safe_clear/plans", json=body, headers=bearer(user)).get_json()
        login(client, user)
        return plan, client.get(path(plan)).text

    return make_and_open


def sets(session):
    session.rollback()
    return session.scalar(select(func.count()).select_from(change_set))


def press_button(client, page):
    """Press the button of the plan, and go where it leads: to the form for the times that are not known."""
    answer = press(client, page, BUTTON)
    assert (answer.status_code, answer.location.endswith("/include_waiting")) == (303, True)
    return client.get(answer.location).text


def made(client, answer):
    assert answer.status_code == 303, words(answer.text)
    assert "/change_sets/" in answer.location
    body = client.get(f"{answer.location}.json", headers=bearer("admin")).get_json()
    return body, client.get(answer.location).text


def fill(client, page, times=(), **more):
    """Send the form as a browser does: a field for each sensor, in their order."""
    (form,) = [form for form in forms(page) if form["id"] == "include"]
    fields = [*form["fields"]]
    sensors = [value for name, value in fields if name == "sensor"]
    data = {
        "csrf_token": dict(fields)["csrf_token"],
        "sensor": sensors,
        "without": [value for name, value in fields if name == "without"],
        "after": [dict(times).get(tuple(json.loads(one)), "") for one in sensors],
        **{name: value for name, value in fields if name in ("reason", "after_all")},
        **more,
    }
    return client.post(form["action"], data={name: value for name, value in data.items() if value != []})


def test_where_all_times_are_stored_one_press_leads_to_the_set(client, store_waiting, preview):
    store_waiting("first", shift=HOUR, mapped=True)
    _, page = preview()
    assert "Include the Dag that waits for this" in words(page)
    body, page = made(client, press(client, page, BUTTON, reason="bad rates"))
    assert body["reason"] == "bad rates"
    assert [one["dag_id"] for one in body["plans"]] == ["etl", "first"]
    assert body["made_from"]["chosen_by"] == "waiting"
    assert "The plan of etl, plus the sensors in each Dag that waits for etl" in words(page)


def test_what_airflow_does_not_store_is_asked_for_first(client, session, store_waiting, preview):
    store_waiting("first", shift=HOUR)
    store_waiting("second", shift=2 * HOUR, wait={"external_dag_id": "first", "external_task_id": "after"})
    store_waiting("stored", shift=HOUR, mapped=True)
    plan, page = preview()
    assert "Include the 3 Dags that wait for this" in words(page)
    page = press_button(client, page)
    assert title(page) == "Dags that wait for this plan"
    assert page.count('name="sensor"') == 2
    assert "1 h after stored in Airflow" in words(page)
    assert "waits for after of first" in words(page)
    assert "Preview 2 Dags" in words(page)
    assert sets(session) == 0
    times = {("first", "wait"): "1h", ("second", "wait"): " 60 min "}
    body, page = made(client, fill(client, page, times, reason="bad rates"))
    assert [one["dag_id"] for one in body["plans"]] == ["etl", "first", "second", "stored"]
    assert (body["reason"], body["made_from"]["plan"], body["left_out"]) == ("bad rates", plan["id"], [])
    assert ">bad rates</textarea>" in page


def test_an_empty_field_leaves_its_sensor_out_and_the_set_names_it(client, store_waiting, preview):
    store_waiting("first")
    store_waiting("other")
    store_waiting("never", shift=HOUR)
    plan, page = preview()
    page = press_button(client, page)
    times = {("first", "wait"): "same logical date", ("never", "wait"): "2 d"}
    body, page = made(client, fill(client, page, times))
    assert [one["dag_id"] for one in body["plans"]] == ["etl", "first"]
    assert [one["dag_id"] for one in body["left_out"]] == ["never", "other"]
    said = words(page)
    assert "No dag run with the sensor wait is 2 days after the awaited run." in said
    assert "Airflow does not store which logical dates the sensor wait waits for." in said
    assert "in which nothing matches" not in said
    assert f'href="{path(plan, "/include_waiting")}"' in page


def test_a_time_that_cannot_be_read_is_told_at_its_field(client, session, store_waiting, preview):
    store_waiting("first", wait=LOAD, later=LOAD)
    _, page = preview()
    page = press_button(client, page)
    times = {("first", "later"): "an hour", ("first", "wait"): "0"}
    answer = fill(client, page, times, reason="bad rates")
    assert answer.status_code == 422
    page = answer.text
    assert "1 time can’t be read" in words(page)
    assert 'href="#after-1"' in page
    assert re.search(r'id="after-1" name="after" value="an hour"[^>]*aria-invalid="true"', page)
    assert re.search(r'id="after-2" name="after" value="0"(?![^>]*aria-invalid)', page)
    assert ("reason", "bad rates") in forms(page)[0]["fields"]
    assert sets(session) == 0
    body, _ = made(client, fill(client, page, {("first", "later"): "0", ("first", "wait"): "0"}))
    assert body["reason"] == "bad rates"


def test_without_any_time_nothing_is_planned(client, session, store_waiting, preview):
    store_waiting("first")
    _, page = preview()
    answer = fill(client, press_button(client, page))
    assert (answer.status_code, "No time was entered." in words(answer.text)) == (422, True)
    answer = fill(client, answer.text, {("first", "wait"): "7 min"})
    assert answer.status_code == 422
    assert "No dag run with the sensor wait is 7 min after" in words(answer.text)
    assert sets(session) == 0


def test_sensors_that_wait_in_different_runs_are_left_out_with_a_press(client, store_waiting, preview):
    store_waiting("both", wait=LOAD, later=LOAD)
    store_waiting("first")
    _, page = preview()
    page = press_button(client, page)
    times = {("both", "wait"): "0", ("both", "later"): "1d", ("first", "wait"): "0"}
    answer = fill(client, page, times, reason="bad rates")
    assert answer.status_code == 422
    assert "both can’t be part of this" in words(answer.text)
    body, page = made(client, press(client, answer.text, "Preview without it"))
    assert [one["dag_id"] for one in body["plans"]] == ["etl", "first"]
    assert body["left_out"] == [{"dag_id": "both", "reason": "It was left out on request.", "remedy": ""}]
    assert body["reason"] == "bad rates"
    assert "It was left out on request." in words(page)


def test_the_last_dag_that_waits_is_not_left_out_with_a_press(client, store_waiting, preview):
    store_waiting("both", wait=LOAD, later=LOAD)
    _, page = preview()
    page = press_button(client, page)
    answer = fill(client, page, {("both", "wait"): "0", ("both", "later"): "1d"})
    assert answer.status_code == 422
    assert "both can’t be part of this" in words(answer.text)
    assert "Preview without it" not in answer.text


def test_one_time_fills_all_fields_where_there_are_many(client, store_waiting, preview):
    store_waiting("many", **{f"wait_{number}": LOAD for number in range(200)})
    _, page = preview()
    page = press_button(client, page)
    assert page.count('name="after"') == 200
    assert page.count('name="after_all"') == 1
    assert fill(client, page, after_all="soon").status_code == 422
    assert "All empty fields" in words(fill(client, page, after_all="soon").text)
    body, _ = made(client, fill(client, page, after_all="0"))
    assert [(one["dag_id"], one["task_instances"]) for one in body["plans"]] == [("etl", 2), ("many", 201)]
    of_many = body["plans"][1]
    assert of_many["sentence"].startswith("200 tasks, in run run_1. ")
    assert "200 tasks" in words(client.get(path(of_many)).text)
    body, _ = made(client, fill(client, page, {("many", "wait_7"): "0"}))
    assert len(body["left_out"]) == 199


def test_pages_and_answers_about_many_long_names_stay_small(client, store_waiting, preview):
    names = [f"wait_for_{'a_long_name_' * 17}{number:03}" for number in range(200)]
    store_waiting("many", **dict.fromkeys(names, LOAD))
    _, page = preview()
    body, page = made(client, fill(client, press_button(client, page), after_all="0"))
    plan = body["plans"][1]
    listed = len(json.dumps(names))
    assert len(json.dumps(body)) < 10_000
    assert len(page) < 100_000
    for address, most in (
        (path(plan), 400_000),
        (path(plan, ".json"), 20_000 + 2 * listed),  # The estimate names each task, as well.
        (path(plan, "/progress.json"), 2_000),
        ("/safe_clear/plans.json", 10_000),
        ("/safe_clear/plans", 30_000),
        (f"/safe_clear/select?plan={plan['id']}", 300_000),
    ):
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert len(answer.text) < most, (address, len(answer.text))
    # The table has a page of the tasks, and nothing else repeats the list.
    assert names[-1] not in client.get(path(plan)).text
    again = client.get(path(plan, ".json")).get_json()["selection"]
    assert again["task_ids"] == names


def test_dags_that_one_may_not_clear_are_neither_counted_nor_planned(client, store_waiting, preview, fab):
    if not fab:
        pytest.skip("SimpleAuthManager knows no permissions per DAG")
    store_waiting("ours")
    store_waiting("seen", team={"team_a": {"DAGs": {"can_read"}}})
    store_waiting("theirs", team=TEAM_B)
    store_waiting("behind", wait={"external_dag_id": "seen", "external_task_id": "after"})
    plan, page = preview("operator")
    said = words(page)
    assert "Include the Dag that waits for this" in said
    assert "Not included, because you can’t clear it: seen ." in said
    page = press_button(client, page)
    assert "1 Dag that you can’t see also waits for this plan." in words(page)
    for name in ("theirs", "behind"):
        assert name not in page
    answer = fill(client, page, {("ours", "wait"): "0"})
    body, page = made(client, answer)
    assert [one["dag_id"] for one in body["plans"]] == ["etl", "ours"]
    assert "You can see seen, but you can't clear its task instances." in html.unescape(page)
    login(client, "viewer")
    assert "Include the" not in client.get(path(plan)).text
    assert client.get(path(plan, "/include_waiting")).status_code == 403
    login(client, "nobody")
    assert client.get(path(plan, "/include_waiting")).status_code == 404


def test_a_permission_that_is_lost_meanwhile_is_told(client, session, store_waiting, preview, monkeypatch):
    store_waiting("first")
    store_waiting("lost")
    plan, page = preview()
    page = press_button(client, page)
    allowed = permissions.may_clear
    monkeypatch.setattr(
        permissions, "may_clear", lambda dag, user: dag.dag_id != "lost" and allowed(dag, user)
    )
    answer = fill(client, page, {("first", "wait"): "0", ("lost", "wait"): "0"})
    assert answer.status_code == 403
    assert "lost can’t be part of this" in words(answer.text)
    assert sets(session) == 0
    body, _ = made(client, press(client, answer.text, "Preview without it"))
    assert [one["dag_id"] for one in body["plans"]] == ["etl", "first"]
    assert [one["dag_id"] for one in body["left_out"]] == ["lost"]
    monkeypatch.setattr(permissions, "may_clear", lambda dag, user: False)
    assert fill(client, page, {("first", "wait"): "0"}).status_code == 403
    assert client.get(path(plan, "/include_waiting")).status_code == 403


def test_nothing_is_offered_where_nothing_waits_or_nobody_decides(client, session, store_waiting, preview):
    plan, page = preview()
    assert "include_waiting" not in page
    page = client.get(path(plan, "/include_waiting")).text
    assert title(page) == "No Dag waits for this plan"
    store_waiting("first")
    plan, page = preview()
    assert "include_waiting" in page
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(hours=1), tick=False):
        login(client, "admin")
        assert "include_waiting" not in client.get(path(plan)).text
    login(client, "admin")
    body, _ = made(client, fill(client, press_button(client, page), {("first", "wait"): "0"}))
    member = body["plans"][0]
    assert "include_waiting" not in client.get(path(member)).text
    assert client.get(path(member, "/include_waiting")).location.endswith(path(member))
    session.execute(update(plan_table).where(plan_table.c.change_set_id.is_(None)).values(status="applied"))
    session.commit()
    assert "include_waiting" not in client.get(path(plan)).text


def test_a_plan_that_expired_meanwhile_is_planned_again(client, store_waiting, preview):
    store_waiting("first")
    _, page = preview()
    page = press_button(client, page)
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(minutes=40), tick=False):
        login(client, "admin")
        body, _ = made(client, fill(client, page, {("first", "wait"): "0"}))
        assert body["status"] == "ready"


def test_a_plan_that_changed_was_confirmed_or_is_gone_meanwhile(client, session, store_waiting, preview):
    store_waiting("first")
    plan, page = preview(state=["upstream_failed", "failed", "success"])
    page = press_button(client, page)
    ti = TaskInstance
    moved = (ti.dag_id == "etl", ti.task_id == "load", ti.run_id == "run_1")
    before = session.scalar(select(ti.state).where(*moved))
    session.execute(update(ti).where(*moved).values(state="skipped"))
    session.commit()
    answer = fill(client, page, {("first", "wait"): "0"})
    assert answer.status_code in (409, 422)
    assert "Nothing was planned" in words(answer.text)
    session.execute(update(ti).where(*moved).values(state=before))
    session.execute(update(plan_table).values(status="applying"))
    session.commit()
    answer = fill(client, page, {("first", "wait"): "0"})
    assert (answer.status_code, "no longer a preview" in words(answer.text)) == (409, True)
    session.execute(plan_table.delete())
    session.commit()
    assert fill(client, page, {("first", "wait"): "0"}).status_code == 404
    assert client.get(path(plan, "/include_waiting")).status_code == 404
    assert sets(session) == 0


def test_two_tabs_make_two_sets(client, session, store_waiting, preview):
    store_waiting("first")
    _, page = preview()
    page = press_button(client, page)
    for _ in range(2):
        made(client, fill(client, page, {("first", "wait"): "0"}))
    assert sets(session) == 2


def test_a_request_that_says_something_else_is_refused(client, session, store_waiting, preview):
    store_waiting("first")
    plan, page = preview()
    page = press_button(client, page)
    assert fill(client, page, csrf_token="no").status_code == 403
    for more in (
        {"sensor": ["x"], "after": ["0"]},
        {"sensor": ['["first", "wait"]'], "after": ["0", "1"]},
        {"sensor": ['["first", "wait"]'] * 2, "after": ["0", "1"]},
        {"after": ["0" * 101]},
        {"after": ["\x00"]},
        {"reason": "x" * 2_001},
        {"color": "red"},
        {"without": ["nothing"], "sensor": ['["first", "wait"]'], "after": ["0"]},
    ):
        answer = fill(client, page, **more)
        assert (answer.status_code, title(answer.text) != "") == (422, True), more
    assert client.get(path(plan, "/include_waiting?x=1")).status_code == 422
    as_json = client.post(
        path(plan, "/include_waiting"), json={"sensor": [["a", "b"]], "after": ["x"]}, headers=bearer("admin")
    )
    assert (as_json.status_code, as_json.get_json()["remedy"]) == (422, "Nothing was planned.")
    as_json = client.post(path(plan, "/waiting_dags"), json={"without": ["nothing"]}, headers=bearer("admin"))
    assert (as_json.status_code, "can't see them: nothing." in as_json.get_json()["error"]) == (422, True)
    assert sets(session) == 0


def test_too_many_dags_that_wait_are_told_and_not_offered(client, store_waiting, preview, monkeypatch):
    monkeypatch.setattr(sensor_search, "MAX_DAGS", 2)
    store_waiting("first")
    store_waiting("second")
    plan, page = preview()
    assert "More than 1 Dags wait for this plan." in words(page)
    assert "include_waiting" not in page
    assert client.get(path(plan, "/include_waiting")).status_code == 422


class Tags(HTMLParser):
    def __init__(self, source):
        super().__init__()
        self.seen = set()
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def test_names_make_no_markup(client, session, store_waiting, preview):
    long = f"{'x' * 200}.משימה"
    store_waiting("dag_מש." + "y" * 200, **{long: LOAD, "short": LOAD})
    bad = '"><xss onload=alert(1)>{{7*7}}'
    _, page = preview()
    form = press_button(client, page)
    again = fill(client, form, {("dag_מש." + "y" * 200, long): bad}, reason=bad)
    assert again.status_code == 422
    for shown in (page, form, again.text):
        assert "xss" not in Tags(shown).seen
        assert "dag_מש." in html.unescape(shown)
    body, page = made(client, fill(client, again.text, {("dag_מש." + "y" * 200, long): "0"}))
    assert body["reason"] == bad
    assert "xss" not in Tags(page).seen
