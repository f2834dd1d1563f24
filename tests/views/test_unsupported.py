"""On an Airflow that was not tested, plans and receipts are shown, with why nothing is cleared."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from safe_clear_plugin.airflow_api.platform import compatibility, config
from tests.support.auth import TEAM_A, bearer, login
from tests.support.driving import drive_once
from tests.support.later_airflow import later_patch
from tests.support.scenes import store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.views.actions import apply_all, forms, get, make, path, post

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]

BODY = {"dag_id": "etl", "task_regex": "^transform$", "date_from": "2026-01-01", "date_to": "2026-01-31"}


@pytest.fixture(autouse=True)
def dag(session, auth_manager_name):
    compatibility.forget()
    yield store_etl(session, **({"access_control": TEAM_A} if auth_manager_name == "fab" else {}))
    compatibility.forget()


@pytest.fixture
def later(monkeypatch):
    """Return what makes this Airflow one of a later version, in which nothing else has changed."""
    return lambda: monkeypatch.setattr(config, "AIRFLOW_VERSION", "3.4.0")


@pytest.fixture
def renamed(session):
    """Return what renames a column of Airflow's in models and database, as a later version does."""
    names: list[tuple[str, str]] = []

    def rename(old: str, new: str, revision: str) -> None:
        session.close()
        with session.get_bind().begin() as connection:
            connection.execute(text(f"ALTER TABLE task_instance RENAME COLUMN {old} TO {new}"))
            connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
        session.get_bind().dispose()
        compatibility.forget()

    def go() -> None:
        names.append(("region_index", "map_index"))
        rename("map_index", "region_index", "later")

    revision = session.scalar(text("SELECT version_num FROM alembic_version"))
    yield go
    for old, new in names:
        rename(old, new, revision)


def refused(answer) -> str:
    body = answer.get_json()
    assert (answer.status_code, body["code"]) == (409, "unsupported_airflow"), body
    assert body["remedy"]
    return body["error"]


def test_a_later_version_refuses_what_clears_and_says_so(client, session, later):
    plan, cleared = make(client), make(client)
    apply_all(client, cleared)
    later()
    before = snapshot(session)
    for target, what in ((plan, "apply"), (plan, "ask"), (cleared, "undo")):
        answer = post(client, target, what, reason="because")
        assert "this is 3.4.0" in refused(answer)
    assert "this is 3.4.0" in refused(post(client, cleared, "pause"))
    assert "this is 3.4.0" in get(client, cleared, "/undo.json").get_json()["problem"]["reason"]
    assert diff_snapshots(before, snapshot(session)) == {}


def test_a_later_version_shows_plans_and_receipts_with_the_sentence(client, later):
    plan, cleared = make(client), make(client)
    apply_all(client, cleared)
    later()
    login(client, "admin")
    for address in ("/safe_clear/", "/safe_clear/plans", path(plan), path(cleared), path(cleared, "/undo")):
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        assert answer.text.count("this is 3.4.0") >= 1, address
    for shown in (plan, cleared):
        page = client.get(path(shown)).text
        assert [form["action"] for form in forms(page)] == []
    assert "Safe Clear can’t clear on this Airflow version" in client.get(path(plan)).text
    for address in (path(plan, ".json"), "/safe_clear/plans.json"):
        found = client.get(address, headers=bearer("admin")).get_json()["unsupported"]
        assert found["code"] == "unsupported_airflow"
        assert "this is 3.4.0" in found["error"]


def test_a_later_version_with_the_same_tables_previews(client, later):
    later()
    plan = make(client)
    assert plan["unsupported"]["code"] == "unsupported_airflow"
    assert plan["counts"]["task_instances"] > 0


def test_a_person_who_confirms_all_the_same_is_told_why_not(client, later):
    plan = make(client)
    login(client, "admin")
    [form] = [one for one in forms(client.get(path(plan)).text) if one["id"] == "confirm"]
    later()
    answer = client.post(form["action"], data=dict(form["fields"]))
    assert answer.status_code == 409
    assert answer.text.count("this is 3.4.0") == 1
    assert "See the plan" in answer.text


def test_tables_of_another_shape_leave_plans_and_receipts(client, renamed):
    plan, cleared = make(client), make(client)
    apply_all(client, cleared)
    renamed()
    login(client, "admin")
    for address in ("/safe_clear/plans", path(plan), path(cleared), path(cleared, "/undo")):
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        assert "no column map_index" in answer.text, address
    for rest in (".json", "/task_instances.json", "/progress.json", "/undo.json"):
        for shown in (plan, cleared):
            assert get(client, shown, rest).status_code == 200, rest
    assert get(client, plan, "/task_instances.csv").status_code == 200
    assert client.get(path(plan, "/rows")).status_code == 200


def test_tables_of_another_shape_are_not_previewed(client, renamed):
    plan, cleared = make(client), make(client)
    apply_all(client, cleared)
    renamed()
    answers = [
        client.post("/safe_clear/plans", json=BODY, headers=bearer("admin")),
        client.post("/safe_clear/answers", json={"dag_id": "etl"}, headers=bearer("admin")),
        client.get("/safe_clear/", headers={**bearer("admin"), "Accept": "application/json"}),
        get(client, plan, "/grid"),
        post(client, plan, "apply"),
        post(client, plan, "rest"),
        post(client, cleared, "undo"),
    ]
    assert all("no column map_index" in refused(answer) for answer in answers)


def test_a_clear_that_a_migration_comes_into_is_stopped_with_the_reason(client, renamed, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    plan = make(client)
    assert post(client, plan, "apply").get_json()["status"] == "applying"
    renamed()
    assert "no column map_index" in refused(post(client, plan, "apply"))


def test_a_clear_that_an_upgrade_comes_into_is_stopped_with_the_reason(client, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    plan = make(client)
    assert post(client, plan, "apply").get_json()["status"] == "applying"
    begun = config.AIRFLOW_VERSION
    patch = later_patch(begun)
    monkeypatch.setattr(config, "AIRFLOW_VERSION", patch)
    drive_once(plan["id"])
    answer = post(client, plan, "apply")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "upgraded")
    assert answer.get_json()["error"] == f"The clear began on Airflow {begun}; this is Airflow {patch}."
    login(client, "admin")
    page = client.get(path(plan)).text
    assert f"The clear began on Airflow {begun}" in page
    assert "Resume" not in page
