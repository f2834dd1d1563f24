"""The form: prefilled, corrected, refused."""

from __future__ import annotations

import json

import pytest

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.web.select.form import form_from_selection
from tests.support.auth import bearer, login
from tests.support.scenes import store_etl

pytestmark = pytest.mark.airflow32

PAGE = "/safe_clear/select"


@pytest.fixture
def dag(session):
    return store_etl(session)


@pytest.fixture
def admin(client):
    return login(client, "admin")


def plans(client, body, user="admin"):
    return client.post("/safe_clear/plans", json=body, headers=bearer(user))


def test_the_form_is_there_for_whoever_may_clear_a_dag(admin, dag):
    response = admin.get(PAGE)
    assert response.status_code == 200
    assert "What should run again?" in response.text
    assert "You can’t clear any Dag" not in response.text


def test_the_query_fills_in_the_form(admin, dag):
    page = admin.get(PAGE + "?dag_id=etl&run_id=run_1&task_id=group.load&map_index={MAP_INDEX}").text
    assert 'value="etl"' in page
    assert r"^group\.load$" in page
    assert "run_1" in page
    assert "{MAP_INDEX}" not in page


def test_a_page_of_ours_never_touches_airflows_session_cookie(admin, dag):
    for path in (PAGE, PAGE + "nothing", "/safe_clear/plans/0", "/safe_clear/static/safe-clear.css"):
        with admin.get(path) as response:
            cookies = response.headers.getlist("Set-Cookie")
        assert not [c for c in cookies if c.startswith("session=")], path


def test_the_security_headers_are_there(admin, dag):
    for path in (PAGE, "/safe_clear/plans/0"):
        headers = admin.get(path).headers
        assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


def test_no_inline_script_or_style(admin, dag):
    import re

    page = admin.get(PAGE + "?dag_id=etl").text
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=", page)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "dag_id", "Choose a Dag"),
        ({"date_from": "", "date_to": ""}, "date_from", "This field is empty"),
        ({"date_from": "yesterday"}, "date_from", "2026-11-01"),
        ({"date_from": "2026-01-03", "date_to": "2026-01-01"}, "date_to", "is later than"),
        ({"timezone": "Europe/Atlantis"}, "timezone", "Unknown time zone Europe/Atlantis"),
        ({"timezone": "../../etc/passwd"}, "timezone", "Unknown time zone"),
        ({"task_regex": "lo[ad"}, "task_regex", "missing ]: [ad"),
        ({"task_regex": "(?=x)"}, "task_regex", "(?="),
        ({"task_regex": "^nothing$"}, "task_regex", "extract, transform, load"),
        ({"map_index": 3}, "map_index", "needs one task"),
        ({"map_index": 3, "task_regex": "a"}, "map_index", "matches 3"),
        ({"map_index": "x", "task_regex": "^load$"}, "map_index", "whole number"),
        ({"run_id": ["run_1", "other"]}, "run_id", "no dag run other"),
        ({"date_from": "2025-01-01", "date_to": "2025-01-02"}, "date_from", "no dag run of etl"),
        ({"state": ["running"]}, "state", "These 3 runs have no Running task instance"),
        ({"state": ["sleeping"]}, "state", "sleeping"),
        ({"date_form": "2026-01-01"}, "date_form", "doesn't exist"),
        ({"running": "maybe"}, "running", "choice"),
        ({"task_regex": {"a": 1}}, "task_regex", "Send a string"),
        ({"task_regex": "lo\u0000ad"}, "task_regex", "control characters"),
        ({"run_id": ["\ud800"]}, "run_id", "control characters"),
        ({"date_from": "0001-01-01 00:00", "timezone": "Asia/Tokyo"}, "date_from", "2026-11-01"),
    ],
)
def test_each_mistake_stands_at_its_field_and_writes_nothing(client, session, dag, body, field, words):
    from tests.support.snapshots import diff_snapshots, snapshot

    before = snapshot(session)
    base = {} if body == {} else {"dag_id": "etl", "date_from": "2026-01-01", "date_to": "2026-01-03"}
    response = plans(client, {**base, **body})
    assert response.status_code == 422, response.text
    errors = response.get_json()["errors"]
    assert words in " ".join(errors[field]), errors
    assert diff_snapshots(before, snapshot(session)) == {}


def test_the_form_takes_dates_as_people_say_them(admin, session, dag):
    import re

    from sqlalchemy import text

    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get(PAGE).text)[1]
    given = {"csrf_token": token, "dag_id": "etl", "date_from": "1 Jan 2026", "date_to": "Jan 3, 2026 02:00"}
    response = admin.post("/safe_clear/plans", data=given)
    assert response.status_code == 303, response.text
    selection = json.loads(session.scalar(text("SELECT selection FROM safe_clear_plan")))
    assert selection["date_from"].startswith("2026-01-01T00:00:00")
    assert selection["date_to"].startswith("2026-01-03T02:00:00")


def test_what_was_typed_stays_and_the_error_is_at_the_field(admin, dag):
    import re

    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get(PAGE).text)[1]
    response = admin.post(
        "/safe_clear/plans",
        data={"csrf_token": token, "dag_id": "etl", "task_regex": "lo[ad", "date_from": "2026-01-01"},
    )
    assert response.status_code == 422
    assert 'value="lo[ad"' in response.text
    assert re.search(r'<input[^>]*aria-invalid="true"[^>]*id="task_regex"', response.text)
    assert "missing ]" in response.text


def test_a_dag_without_a_serialized_version_says_so(client, session, dag):
    from airflow.models.dag import DagModel

    session.add(DagModel(dag_id="unparsed", bundle_name="tests", fileloc="/x.py", relative_fileloc="x.py"))
    session.commit()
    response = plans(client, {"dag_id": "unparsed", "date_from": "2026-01-01"})
    assert response.status_code == 422
    assert "has no serialized version" in response.get_json()["errors"]["dag_id"][0]


def test_a_dag_that_does_not_exist(client, dag):
    response = plans(client, {"dag_id": "nope", "date_from": "2026-01-01"})
    assert response.status_code == 422
    assert "Dag nope doesn't exist" in response.get_json()["errors"]["dag_id"][0]


@pytest.mark.parametrize("body", ["[]", "{", "null", '"x"', "3"])
def test_a_body_that_is_no_object(client, dag, body):
    headers = {**bearer("admin"), "Content-Type": "application/json"}
    answer = client.post("/safe_clear/plans", data=body, headers=headers)
    assert answer.status_code == (400 if body == "{" else 422)


def test_a_form_body_gets_json_when_it_asks_for_it(client, dag):
    response = client.post(
        "/safe_clear/plans",
        data={"dag_id": "etl", "run_id": "run_1"},
        headers={**bearer("admin"), "Accept": "application/json"},
    )
    assert response.status_code == 201
    assert response.get_json()["counts"] == {
        "task_instances": 3,
        "dag_runs": 1,
        "by_state": {"success": 1, "failed": 1, "upstream_failed": 1},
    }


def test_bounds_are_inclusive_and_a_date_alone_runs_to_its_end(client, dag):
    def runs(**body):
        return plans(client, {"dag_id": "etl", "task_regex": "load", **body}).get_json()["counts"]["dag_runs"]

    assert runs(date_from="2026-01-02", date_to="2026-01-02") == 1
    assert runs(date_from="2026-01-02 00:00", date_to="2026-01-03 00:00") == 2
    assert runs(date_from="2026-01-02 00:01", date_to="2026-01-02 23:59", include_future=True) == 1
    # 2 January in Tokyo begins at 15:00 UTC of the first.
    assert runs(date_from="2026-01-02", date_to="2026-01-02", timezone="Asia/Tokyo") == 1
    assert runs(date_from="2026-01-01T23:00:00-01:00", date_to="2026-01-02") == 1


def test_names_that_no_database_holds_are_errors_not_crashes(client, dag):
    for name in ("\ud800", "a\u0000b", "x" * 100_000):
        response = plans(client, {"dag_id": name, "date_from": "2026-01-01"})
        assert response.status_code in (404, 422), name
        assert (
            client.get(PAGE, query_string={"dag_id": "a\u0000b"}, headers=bearer("admin")).status_code == 200
        )


def test_a_body_nested_without_end(client, dag):
    headers = {**bearer("admin"), "Content-Type": "application/json"}
    assert client.post("/safe_clear/plans", data="[" * 200_000, headers=headers).status_code == 400


def test_a_body_without_end(admin, dag):
    form = {"dag_id": "etl", "run_id": "x" * (5 * 1024 * 1024)}
    assert admin.post("/safe_clear/plans", data=form).status_code == 413


def test_a_list_without_end(client, dag):
    response = plans(client, {"dag_id": "etl", "run_id": [f"run_{n}" for n in range(10_001)]})
    assert response.status_code == 422
    assert "at most 10,000" in response.get_json()["errors"]["run_id"][0]


@pytest.mark.parametrize(
    "dates",
    [
        {"date_from": "0001-01-01"},
        {"date_from": "0999-05-05", "date_to": "2026-01-02"},
        {"date_from": "2026-01-01", "date_to": "9999-12-31T23:59+00:00", "timezone": "Asia/Tokyo"},
        {"date_from": "2025-10-26T02:30+01:00", "timezone": "Europe/Berlin"},
        {"date_from": "2025-12-31 10:00:00.5", "date_to": "2026-01-02 00:00"},
    ],
)
def test_a_plan_fills_in_the_form_that_makes_it_again(client, dag, dates):
    import re

    made = plans(
        client, {"dag_id": "etl", "exclude_task_id": ["load"], "reset_dag_runs": False, **dates}
    ).get_json()
    login(client, "admin")
    assert client.get(f"/safe_clear/plans/{made['id']}").status_code == 200
    page = client.get(f"{PAGE}?plan={made['id']}").text
    fields = dict(re.findall(r'<input[^>]*name="(date_from|date_to|timezone)"[^>]*value="([^"]*)"', page))
    given = {name: value for name, value in fields.items() if value}
    again = plans(
        client, {"dag_id": "etl", "exclude_task_id": ["load"], "reset_dag_runs": False, **given}
    ).get_json()
    assert again["selection"] == made["selection"]


def test_the_mapping_that_decides_is_kept_where_there_is_one(client, dag):
    asked = {"dag_id": "etl", "task_regex": "^load$", "map_index": -1, "run_id": ["run_1"]}
    login(client, "admin")
    for index_run_id, shown in (("", False), ("*", True), ("run_2", True)):
        given = {"index_run_id": index_run_id} if index_run_id else {}
        made = plans(client, {**asked, **given}).get_json()
        assert made["selection"]["index_run_id"] == index_run_id
        page = client.get(f"{PAGE}?plan={made['id']}").text
        assert ('name="index_run_id"' in page) is shown
        assert (f'value="{index_run_id}"' in page) or not shown


def test_only_a_link_has_placeholders(client, dag):
    """Airflow leaves {RUN_ID} in a link where there is no run; anywhere else it is a name like others."""
    form = form_from_selection(
        Selection("etl", run_id=("{RUN_ID}", "run_1"), exclude_run_id=("{BAD_RUN}", "run_2"))
    )
    assert form.run_id.data == ["{RUN_ID}", "run_1"]
    assert form.exclude_run_id.data == ["{BAD_RUN}", "run_2"]
    login(client, "admin")
    assert "{RUN_ID}" not in client.get(f"{PAGE}?dag_id=etl&run_id={{RUN_ID}}").text
    for name, value in (("run_id", ["{RUN_ID}"]), ("exclude_run_id", ["{RUN_ID}"])):
        refused = plans(client, {"dag_id": "etl", "date_from": "2026-01-01", name: value})
        assert refused.status_code == 422
        assert "no dag run {RUN_ID}" in refused.get_json()["errors"][name][0]
