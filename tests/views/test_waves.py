"""Waves over HTTP: as JSON, and as a person without JavaScript chooses and goes on."""

from __future__ import annotations

from uuid import UUID

import pytest
from airflow.models.dagrun import DagRun
from sqlalchemy import select, update

from safe_clear_plugin.storage.tables import plan as plan_table
from safe_clear_plugin.web.api.wave_answers import WavesAnswer
from tests.support.auth import TEAM_A, bearer, login
from tests.support.driving import driver, end_pause
from tests.support.factories import set_states
from tests.support.scenes import START, store_etl
from tests.views.actions import forms, get, make, path, to_tick

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]

ASK = {"first_runs": 1, "then": "ask"}
NOTHING = {
    "first_runs": None,
    "then": None,
    "at_most_runs": None,
    "stop_after_failed": None,
    "order": "oldest",
    "not_before": None,
}


@pytest.fixture(autouse=True)
def dag(session, auth_manager_name):
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}
    return store_etl(session, **ours)


def post(client, plan, what, user="admin", **body):
    """Send a change as JSON, and let no driver see it yet."""
    if what == "apply":
        body = {"fingerprint": plan["fingerprint"], "acknowledge": to_tick(plan), **body}
    return client.post(path(plan, f"/{what}"), json=body, headers=bearer(user))


def look(plan, session):
    """Let a driver look at the plan twice, as soon as it may: to clear, and then to see."""
    for _ in range(2):
        end_pause()
        due = update(plan_table).where(plan_table.c.next_step_at.is_not(None)).values(next_step_at=START)
        session.execute(due)
        session.commit()
        driver().run_once(UUID(plan["id"]))


def ends(session, run_id, run_state="success"):
    run = session.scalars(select(DagRun).where(DagRun.run_id == run_id)).one()
    set_states(run, {"transform": run_state, "load": run_state}, session=session)
    session.execute(update(DagRun).where(DagRun.run_id == run_id).values(state=run_state))
    session.commit()


def waves(client, plan, rest="/progress.json"):
    found = get(client, plan, rest).get_json()["waves"]
    if found is not None:
        WavesAnswer.model_validate(found)
    return found


def asked(client, session, run_state="success", **settings):
    """Clear the first run, let it end, and return the plan, which waits for a person."""
    plan = make(client)
    assert post(client, plan, "apply", waves={**ASK, **settings}).status_code == 202
    look(plan, session)
    ends(session, "run_1", run_state)
    look(plan, session)
    assert waves(client, plan)["state"] == "waiting_for_person"
    return plan


def test_a_plan_is_applied_in_waves_and_says_how_they_stand(client, session):
    plan = make(client)
    assert plan["waves"] is None
    answer = post(client, plan, "apply", waves=ASK)
    assert (answer.status_code, answer.get_json()["status"]) == (202, "applying")
    others = ("done", "running_again", "failed", "waiting", "undone", "skipped", "unfinished")
    begun = {**NOTHING, **ASK, "state": "clearing", "reason": None}
    assert waves(client, plan) == {**begun, "runs": {"untouched": 3, **dict.fromkeys(others, 0)}}
    look(plan, session)
    found = waves(client, plan, ".json")
    assert (found["state"], found["runs"]["running_again"], found["runs"]["untouched"]) == (
        "waiting_for_runs",
        1,
        2,
    )
    ends(session, "run_1")
    look(plan, session)
    found = waves(client, plan)
    assert (found["state"], found["reason"], found["runs"]["done"]) == (
        "waiting_for_person",
        "first_done",
        1,
    )
    assert post(client, plan, "apply", waves=ASK).status_code == 202, "sent again it is the same"
    assert post(client, plan, "apply", waves={"at_most_runs": 2}).status_code == 409
    assert post(client, plan, "continue").status_code == 202
    look(plan, session)
    assert get(client, plan).get_json()["status"] == "applied"
    assert waves(client, plan)["state"] is None
    assert post(client, plan, "continue").status_code == 409


@pytest.mark.parametrize(
    ("sent", "at"),
    [
        ({}, "waves"),
        ([], "waves"),
        ("", "waves"),
        (None, "waves"),
        (True, "waves"),
        ({"all_at_once": False}, "waves"),
        ({"all_at_once": True, "first_runs": 1}, "waves"),
        ({"all_at_once": "true"}, "waves.all_at_once"),
        ({"first_runs": 0}, "waves.first_runs"),
        ({"first_runs": "1"}, "waves.first_runs"),
        ({"first_runs": 1.5}, "waves.first_runs"),
        ({"first_runs": True}, "waves.first_runs"),
        ({"first_runs": None}, "waves.first_runs"),
        ({"first_runs": 1, "then": ""}, "waves.then"),
        ({"first_runs": 1, "then": "stop"}, "waves.then"),
        ({"then": "ask"}, "waves.then"),
        ({"at_most_runs": -1}, "waves.at_most_runs"),
        ({"stop_after_failed": 0}, "waves.stop_after_failed"),
        ({"stop_after_failed": []}, "waves.stop_after_failed"),
        ({"order": "random"}, "waves.order"),
        ({"not_before": ""}, "waves.not_before"),
        ({"not_before": "tomorrow"}, "waves.not_before"),
        ({"not_before": "2020-01-01T00:00Z"}, "waves.not_before"),
        ({"at_most": 1}, "waves.at_most"),
    ],
)
def test_waves_that_are_empty_misspelt_or_of_the_wrong_type_are_refused(client, sent, at):
    plan = make(client)
    answer = post(client, plan, "apply", waves=sent)
    assert answer.status_code == 422, answer.text
    assert list(answer.get_json()["errors"]) == [at]
    assert get(client, plan).get_json()["status"] == "ready"


def test_first_runs_without_more_ask(client):
    plan = make(client)
    post(client, plan, "apply", waves={"first_runs": 2})
    assert waves(client, plan)["then"] == "ask"


def test_above_the_configured_size_a_canary_is_the_default(client, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CANARY_ABOVE", "1")
    plan, at_once = make(client), make(client)
    post(client, plan, "apply")
    found = waves(client, plan)
    assert {name: found[name] for name in ASK} == ASK
    post(client, at_once, "apply", waves={"all_at_once": True})
    assert waves(client, at_once) is None


def test_going_on_over_failures_takes_a_word(client, session):
    plan = asked(client, session, "failed")
    assert (waves(client, plan)["reason"], waves(client, plan)["runs"]["failed"]) == ("first_failed", 1)
    refused = post(client, plan, "continue")
    assert (refused.status_code, refused.get_json()["failed_runs"]) == (409, 1)
    assert post(client, plan, "continue", skip_failed=True, waves={"at_most_runs": 1}).status_code == 202
    look(plan, session)
    found = waves(client, plan)
    assert (found["at_most_runs"], found["first_runs"], found["runs"]["skipped"]) == (1, None, 1)
    assert (found["runs"]["running_again"], found["runs"]["untouched"]) == (1, 1)


def test_waves_are_changed_under_way(client, session):
    plan = make(client)
    assert post(client, plan, "waves", waves={"at_most_runs": 1}).status_code == 409
    post(client, plan, "apply", waves={"at_most_runs": 1})
    look(plan, session)
    assert post(client, plan, "waves").status_code == 422
    assert post(client, plan, "waves", waves={}).status_code == 422
    assert post(client, plan, "waves", waves={"at_most_runs": 2}).status_code == 202
    look(plan, session)
    assert waves(client, plan)["runs"]["running_again"] == 2


def test_who_may_not_clear_may_neither_go_on_nor_change(client, session):
    plan = asked(client, session)
    for what, body in (("continue", {}), ("waves", {"waves": {"at_most_runs": 1}})):
        assert post(client, plan, what, user="viewer", **body).status_code == 403
        assert client.post(path(plan, f"/{what}"), json=body).status_code == 401
    assert waves(client, plan)["state"] == "waiting_for_person"


def press(client, page, action, **more):
    """Send the form with this address, as a browser without JavaScript does."""
    (form,) = (one for one in forms(page) if one["action"].endswith(action[0]) and action[1] in one["text"])
    return client.post(form["action"], data={**dict(form["fields"]), **more})


def confirm(client, page, **fields):
    form = next(one for one in forms(page) if one["id"] == "confirm")
    return client.post(form["action"], data={**dict(form["fields"]), **fields})


def page_of(client, plan):
    return client.get(path(plan)).text


def test_a_person_chooses_waves_and_goes_on_without_javascript(client, session):
    plan = make(client)
    login(client, "admin")
    page = page_of(client, plan)
    assert "How fast: <b" in page
    assert ">All at once</b>" in page
    answer = press_confirm(client, plan, page, **{"waves.first_runs": "1", "waves.then": ""})
    assert answer.status_code == 303
    look(plan, session)
    page = page_of(client, plan)
    assert "First 1 run, then wait for a person" in page
    assert "Nothing more is cleared until these runs finish." in page
    ends(session, "run_1", "failed")
    look(plan, session)
    page = page_of(client, plan)
    assert "The first run failed." in page
    assert "run_1" in page
    assert [one["text"] for one in forms(page) if "Go on" in one["text"]] == ["Go on without the failed runs"]
    assert "/undo" in page
    assert press(client, page, ("/continue", "Go on")).status_code == 303
    look(plan, session)
    page = page_of(client, plan)
    assert get(client, plan).get_json()["status"] == "applied"
    assert "2</b> running again" in page


def press_confirm(client, plan, page, **fields):
    return confirm(client, page, acknowledge=to_tick(plan), **fields)


def test_what_contradicts_itself_is_said_at_its_field(client):
    plan = make(client)
    login(client, "admin")
    answer = press_confirm(client, plan, page_of(client, plan), **{"waves.then": "go_on"})
    assert answer.status_code == 422
    assert "Send `first_runs` too" in answer.text
    assert get(client, plan).get_json()["status"] == "ready"


def test_empty_fields_are_the_default(client):
    plan = make(client)
    login(client, "admin")
    names = ("first_runs", "then", "at_most_runs", "stop_after_failed", "order", "not_before")
    answer = press_confirm(client, plan, page_of(client, plan), **{f"waves.{name}": "" for name in names})
    assert answer.status_code == 303
    assert waves(client, plan) is None


def test_a_canary_by_default_is_said_and_can_be_left_out(client, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CANARY_ABOVE", "1")
    plan = make(client)
    login(client, "admin")
    page = page_of(client, plan)
    assert ">First 1 run, then wait for a person</b>" in page
    assert press_confirm(client, plan, page, **{"waves.all_at_once": "true"}).status_code == 303
    assert waves(client, plan) is None


def test_a_person_changes_the_waves_under_way(client, session):
    plan = make(client)
    post(client, plan, "apply", waves={"at_most_runs": 1})
    look(plan, session)
    login(client, "admin")
    page = page_of(client, plan)
    changed = {"waves.at_most_runs": "2"}
    assert press(client, page, ("/waves", "Change the waves"), **changed).status_code == 303
    assert waves(client, plan)["at_most_runs"] == 2
    assert press(client, page_of(client, plan), ("/waves", "Clear the rest at once")).status_code == 303
    look(plan, session)
    assert get(client, plan).get_json()["status"] == "applied"


def test_a_viewer_sees_the_waves_and_no_button(client, session):
    plan = asked(client, session)
    login(client, "viewer")
    page = page_of(client, plan)
    assert "The first run has succeeded. Go on with the rest?" in page
    assert forms(page) == []
    assert "Waiting for a person" in client.get("/safe_clear/plans").text
