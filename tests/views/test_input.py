"""No input widens a clear: what is empty, of another type, misspelt, repeated or too long is refused."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from safe_clear_plugin.core import input_limits
from tests.support.auth import bearer, login
from tests.support.scenes import store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.views.actions import forms, get, make, path, post

PLANS = "/safe_clear/plans"
DATED = {"dag_id": "etl", "date_from": "2026-01-01"}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(autouse=True)
def dag(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    return store_etl(session)


@pytest.fixture
def unchanged(session):
    """Hold the database against itself at the end of the test."""
    before = snapshot(session)
    yield
    session.rollback()
    assert diff_snapshots(before, snapshot(session)) == {}


def send(client, body, content_type="application/json", address=PLANS):
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return client.post(address, data=data, headers={**bearer("admin"), "Content-Type": content_type})


def refused_fields(answer) -> list[str]:
    assert answer.status_code == 422, answer.text
    body = answer.get_json()
    assert body["error"]
    assert body["remedy"]
    return list(body["errors"])


NOT_A_LIST = ["run_1", 1, True, {}, None, [], [""], [None], [["run_1"]], [" "], ["run_1", ""], [1]]
NOT_A_FLAG = ["perhaps", "true", "n", "", 0, 1, 2, None, [], [True], {}]
NOT_A_TEXT = ["", None, [], ["x"], {}, 1, True]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("field", "values"),
    [
        *(
            (name, NOT_A_LIST)
            for name in ("task_ids", "run_id", "partition_key", "exclude_task_id", "exclude_run_id")
        ),
        *((name, [*NOT_A_LIST, ["sleeping"], ["FAILED"]]) for name in ("state", "run_state", "run_type")),
        (
            "exclude_task_instance",
            [*NOT_A_LIST, [["load", "1", "run_1"]], [["load", -1]], [["load", True, "r"]]],
        ),
        *((f"include_{name}", NOT_A_FLAG) for name in ("upstream", "downstream", "past", "future", "setups")),
        ("reset_dag_runs", NOT_A_FLAG),
        ("run_on_latest_version", [one for one in NOT_A_FLAG if one is not None]),
        ("task_regex", [*NOT_A_TEXT, " ", "load ", " load", "load| "]),
        ("dag_id", [*NOT_A_TEXT, " "]),
        *((name, [*NOT_A_TEXT, " ", "soon"]) for name in ("date_from", "date_to", "timezone")),
        *((name, [*NOT_A_TEXT, "any"]) for name in ("date_field", "running")),
        ("index_run_id", [*NOT_A_TEXT, " "]),
        ("map_index", ["", "1", None, [], [1], {}, True, 1.0, 1.5, -2, 2**31, 10**30]),
    ],
)
def test_json_that_is_empty_or_of_another_type_is_refused_by_name(client, field, values):
    for value in values:
        answer = send(client, {**DATED, "task_regex": "load", field: value})
        assert refused_fields(answer) == [field], value


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("run_id=a&date_from=2026-01-01&date_from=2026-01-02", "date_from"),
        ("include_downstream=perhaps", "include_downstream"),
        ("include_downstream=1", "include_downstream"),
        ("include_downstream=true&include_downstream=true", "include_downstream"),
        ("reset_dag_runs=true&reset_dag_runs=false", "reset_dag_runs"),
        ("state=", "state"),
        ("state=failed&state=", "state"),
        ("run_type=nightly", "run_type"),
        ("run_id=run_1&run_id=", "run_id"),
        ("run_id=%00", "run_id"),
        ("running=kill", "running"),
        ("run_on_latest_version=maybe", "run_on_latest_version"),
        ("map_index=1.0", "map_index"),
        ("map_index={MAP_INDEX}", "map_index"),
        ("map_index=%D9%A3", "map_index"),
        ("exclude_task_instance=load", "exclude_task_instance"),
        ("task_regx=load", "task_regx"),
        ("task_id=load", "task_id"),
    ],
)
def test_form_data_is_held_to_the_same(client, body, field):
    answer = send(client, f"dag_id=etl&{'' if 'date_from' in body else 'date_from=2026-01-01&'}{body}", FORM)
    assert refused_fields(answer) == [field]


def test_a_field_of_the_page_that_was_left_empty_is_not_given(client):
    empty = (
        "task_regex",
        "task_ids",
        "date_to",
        "map_index",
        "exclude_run_id",
        "exclude_task_id",
        "exclude_task_instance",
    )
    given = {
        **DATED,
        **dict.fromkeys(empty, ""),
        "run_id": "\r\n",
        "run_on_latest_version": "",
        "timezone": "",
    }
    flags = dict.fromkeys(("include_past", "include_future", "include_upstream"), "false")
    answer = send(
        client, urlencode({**given, **flags, "reset_dag_runs": ["false", "true"]}, doseq=True), FORM
    )
    assert answer.status_code == 201, answer.text
    assert answer.get_json()["selection"] == send(client, DATED).get_json()["selection"]


def test_a_name_that_is_given_twice_is_refused_in_json(client):
    twice = '{"dag_id": "etl", "run_id": ["run_1"], "run_id": ["run_1", "run_2"]}'
    assert refused_fields(send(client, twice)) == ["run_id"]
    plan = make(client)
    for what, field in (("undo", "run_id"), ("apply", "take_over"), ("stop", "x")):
        answer = send(client, f'{{"{field}": true, "{field}": true}}', address=path(plan, f"/{what}"))
        assert field in refused_fields(answer)


@pytest.mark.parametrize(
    ("what", "body", "field"),
    [
        *(("apply", {"take_over": value}, "take_over") for value in ("nah", "true", 1, None, [], "")),
        *(("apply", {"resume": value}, "resume") for value in ("no", 0, None)),
        ("apply", {"acknowledge": None}, "acknowledge"),
        ("apply", {"acknowledge": [""]}, "acknowledge"),
        ("apply", {"fingerprint": ""}, "fingerprint"),
        *(("undo", {"go_on": value}, "go_on") for value in ("nah", 1, None)),
        *(("undo", {"cleared_runs": value}, "cleared_runs") for value in ("1", "", None, 1.0, -1)),
        ("undo", {"reason": ""}, "reason"),
        ("ask", {"reason": None}, "reason"),
        ("decline", {"reason": ["x"]}, "reason"),
        ("stop", {"x": 1}, "x"),
        ("rest", {"run_id": ["run_1"]}, "run_id"),
        *(
            ("widen", {"field": value}, "field")
            for value in ("", None, ["include_downstream"], "include_past")
        ),
        ("widen", {}, "field"),
        *(("without", {"task": value}, "task") for value in ([], "load", [""], None)),
        ("without", {"task": ["load"], "keep_task": ["0"]}, "keep_task"),
        ("without", {"row": ["load"]}, "row"),
        ("without", {"tasks": ["load"]}, "tasks"),
    ],
)
def test_what_a_plan_is_told_is_held_to_the_same(client, session, what, body, field):
    plan = make(client)
    post(client, plan, "apply")
    before = snapshot(session)
    assert refused_fields(post(client, plan, what, **body)) == [field]
    session.rollback()
    assert diff_snapshots(before, snapshot(session)) == {}


def test_a_tick_that_belongs_to_nothing_is_refused(client):
    plan = make(client)
    refused = client.post(
        path(plan, "/without"), data={"task": ["load"], "keep_task": ["1"]}, headers=bearer("admin")
    )
    assert refused.status_code == 422
    assert "`keep_task`" in refused.get_json()["error"]
    made = post(client, plan, "without", task=["load", "transform"], keep_task=[1])
    assert made.get_json()["selection"]["exclude_task_id"] == ["load"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "multipart/form-data; boundary=x", "", "application/xml"]
)
def test_a_body_of_another_kind_is_not_an_empty_one(client, session, content_type):
    """An undo without a body is one of all runs, so a body that is not read must not be one."""
    plan = make(client)
    post(client, plan, "apply")
    before = snapshot(session)
    for what in ("undo", "stop", "rest", "apply"):
        answer = send(client, '{"run_id": ["run_1"]}', content_type, path(plan, f"/{what}"))
        assert answer.status_code == 415, what
    assert send(client, "dag_id=etl", content_type).status_code == 415
    session.rollback()
    assert diff_snapshots(before, snapshot(session)) == {}


def test_a_query_beside_a_body_is_refused(client, session):
    plan = make(client)
    post(client, plan, "apply")
    before = snapshot(session)
    for what in ("undo?run_id=run_1", "stop?x=", "rest?run_id=run_1", "without?task=load", "widen?field=x"):
        answer = client.post(path(plan, f"/{what}"), headers=bearer("admin"))
        assert answer.status_code == 422, what
    assert client.post(f"{PLANS}?run_id=run_1", json=DATED, headers=bearer("admin")).status_code == 422
    session.rollback()
    assert diff_snapshots(before, snapshot(session)) == {}


@pytest.mark.parametrize("body", ["{", "", "{'a': 1}", '{"a": NaN}', "[" * 100_000, '"\\ud800', b"\xff\xfe{"])
def test_json_that_cannot_be_read_is_said_to_be_so(client, body):
    answer = send(client, body)
    assert answer.status_code == (400 if body else 422)
    assert answer.get_json()["error"]


@pytest.mark.parametrize("rest", [".json", "/task_instances.json", "/progress.json", "/undo.json"])
@pytest.mark.parametrize(
    "query", ["?runs=x", "?run_id=", "?limit=", "?offset=1&offset=2", "?limit=all", "?_=1"]
)
def test_a_query_of_a_program_is_held_to_the_same(client, rest, query):
    plan = make(client)
    post(client, plan, "apply")
    answer = get(client, plan, rest + query)
    assert refused_fields(answer) == [query[1:].partition("=")[0]]


@pytest.mark.parametrize(
    "query",
    [
        "dag_id=etl&run_idd=run_1",
        "dag_id=etl&task_id=load&task_id=x",
        "date_from=2026-01-01&date_from=x",
        "plan=x&dag_id=etl",
    ],
)
def test_a_link_into_the_form_is_held_to_the_same(client, query):
    login(client, "admin")
    assert client.get(f"/safe_clear/?{query}").status_code == 422


LONG = {
    "dag_id": "x" * 251,
    "task_regex": "x" * 501,
    "task_ids": ["x"] * 10_001,
    "run_id": ["x" * 251],
    "partition_key": ["x" * 251],
    "date_from": "2" * 65,
    "timezone": "x" * 101,
    "index_run_id": "x" * 251,
    "exclude_task_id": ["x" * 251],
    "exclude_run_id": ["x"] * 10_001,
    "exclude_task_instance": [["x" * 251, -1, "r"]],
    "state": ["failed"] * 51,
}


@pytest.mark.parametrize("factor", [1, 1_000])
@pytest.mark.parametrize("field", list(LONG))
def test_a_text_that_is_too_long_is_refused_and_not_repeated(client, field, factor):
    value = LONG[field] * factor if factor == 1 or isinstance(LONG[field], str) else LONG[field]
    for address in (PLANS, "/safe_clear/answers"):
        answer = send(client, {**DATED, field: value}, address=address)
        assert len(answer.text) < 15_000
        if address == PLANS:
            assert refused_fields(answer) == [field]
    page = client.post(
        PLANS,
        data={
            **DATED,
            field: [json.dumps(one) for one in value] if field == "exclude_task_instance" else value,
        },
        headers={"Accept": "text/html", **bearer("admin")},
    )
    assert page.status_code in (413, 422)
    assert len(page.text) < 60_000


def test_the_page_shows_again_what_is_a_little_too_long(client):
    login(client, "admin")
    (form,) = forms(client.get("/safe_clear/?dag_id=etl").text)
    token = dict(form["fields"])["csrf_token"]
    for regex, shown in (("x" * 600, True), ("x" * 100_000, False)):
        answer = client.post(PLANS, data={**DATED, "csrf_token": token, "task_regex": regex})
        assert answer.status_code == 422
        assert (f'value="{regex}"' in answer.text) is shown
        assert "Use at most 500 characters." in answer.text
        assert len(answer.text) < 60_000


@pytest.mark.parametrize("field", ["run_id", "task_ids", "exclude_task_id", "exclude_run_id"])
def test_ten_unknown_names_are_enough_to_refuse_with(client, field):
    names = [f"nothing_{number:_>100}" for number in range(10_000)]
    asked = [*names, "load"][1:] if field == "task_ids" else names
    unknown = [name for name in asked if name != "load"]
    answer = send(client, {**DATED, field: asked})
    assert refused_fields(answer) == [field]
    assert f"{unknown[9]} and {len(unknown) - 10:,} more" in answer.get_json()["errors"][field][0]
    assert len(answer.text) < 6_000
    answer = send(client, {**DATED, **dict.fromkeys(names, "x")})
    assert len(answer.get_json()["unknown"]) == input_limits.NAMES_SHOWN
    assert len(answer.text) < 6_000


def test_pages_and_answers_stay_small_whatever_was_typed(client, session):
    """The longest of everything, in a plan that is made and declined."""
    store_etl(session, "d" * 240)  # FAB writes "DAG:" before it
    regex = "load|" + "x{0,9}y" * 70
    body = {
        "dag_id": "d" * 240,
        "task_regex": regex.ljust(500, "z"),
        "date_from": "2026-01-01T00:00:00.000000+00:00",
        "timezone": "America/Argentina/ComodRivadavia",
        "exclude_run_id": ["run_1"],
        "exclude_task_id": ["extract"],
    }
    made = send(client, body)
    assert made.status_code == 201, made.text
    plan = made.get_json()
    assert len(made.text) < 20_000
    reason = '"<&' * 666
    login(client, "admin")
    post(client, plan, "apply", reason=reason)
    assert get(client, plan).get_json()["reason"] == reason
    for address, most in (
        (path(plan), 120_000),
        (path(plan, ".json"), 20_000),
        (path(plan, "/progress.json"), 2_000),
        (path(plan, "/undo"), 30_000),
        (f"{PLANS}.json", 10_000),
        (PLANS, 24_000),
        (f"/safe_clear/?plan={plan['id']}", 60_000),
    ):
        answer = client.get(address)
        assert answer.status_code == 200
        assert len(answer.text) < most, (address, len(answer.text))
    assert len(client.get(f"/safe_clear/{'x' * 20_000}").text) < 10_000
