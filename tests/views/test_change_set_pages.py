"""The pages of a change set: preview, confirmation, progress, receipt, undo, and its plans' pages."""

from __future__ import annotations

import html
import re

import pytest
from sqlalchemy import update

from safe_clear_plugin.services.change_sets.stored import get_change_set
from safe_clear_plugin.services.clear import release
from safe_clear_plugin.storage.tables import plan as plan_table
from tests.db.change_set_acting import look
from tests.support.auth import TEAM_A, bearer, login
from tests.support.driving import drive_once, driver
from tests.support.factories import nobody
from tests.views.actions import forms, press, title, words
from tests.views.change_set_pages import (
    SETS,
    acknowledge,
    apply_set,
    drive_set,
    fail,
    make_set,
)

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]


@pytest.fixture
def dags(session, auth_manager_name):
    fail(session, "one", "two", "three", **({"access_control": TEAM_A} if auth_manager_name == "fab" else {}))


def configure(monkeypatch, **options):
    for name, value in options.items():
        monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{name.upper()}", str(value))


@pytest.fixture
def open_set(client):
    def open_page(made, rest="", user="admin", status=200):
        login(client, user)
        answer = client.get(f"{SETS}/{made['id']}{rest}")
        assert answer.status_code == status, answer.text
        return answer.text

    return open_page


def confirm(client, page, **more):
    return press(client, page, "confirm", **{"acknowledge": acknowledge(page), **more})


def progress(client, made):
    return client.get(f"{SETS}/{made['id']}/progress.json", headers=bearer("admin")).get_json()


def test_the_page_has_a_section_for_each_dag_in_order(client, dags, open_set):
    made = make_set(client, "two", "one")
    page = open_set(made)
    assert title(page) == "Clear 4 task instances in 2 Dags"
    for position, plan in enumerate(made["plans"]):
        assert f'id="dag-{position}"' in page
        assert plan["url"] in page
    assert page.index(made["plans"][0]["url"]) < page.index(made["plans"][1]["url"])
    assert "2 task instances" in words(page)
    assert made["url"] == f"{SETS}/{made['id']}"


def test_findings_of_all_dags_stand_at_the_top_by_level(client, dags, open_set):
    made = make_set(client, "one", "two", include_upstream=True)
    page = open_set(made)
    wanted = [one for one in made["findings"] if one["level"] in ("acknowledge", "warn")]
    assert wanted
    for one in wanted:
        assert f'id="{one["code"]}-' in page
    found = [
        tuple(html.unescape(value).strip("[]").replace('"', "").split(", ")) for value in acknowledge(page)
    ]
    assert found == [
        (one["dag_id"], one["code"]) for one in made["findings"] if one["level"] == "acknowledge"
    ]


def test_the_link_to_a_finding_of_a_dag_ends_without_the_colon_of_its_title(client, session, open_set):
    fail(session, "one", "two", run_ids=("r_1", "r_2"), max_active_runs=1)
    page = open_set(make_set(client, "one", "two"))
    assert re.findall(r'<a href="#runs_wait-\d+">([^<]+)</a>', page) == ["1 of 2 runs will wait"] * 2


def test_a_note_of_several_dags_is_listed_once_with_the_rows_of_each(client, session, open_set):
    fail(session, "one", "two", on_failure_callback=nobody)
    made = make_set(client, "one", "two")
    page = open_set(made)
    [anchor] = re.findall(r'id="(callbacks-\d+)"', page)
    point = page[page.index(f'id="{anchor}"') :].partition("</li>")[0]
    assert re.findall(r'href="([^"]+/plans/[^"]+findings/callbacks)"', point) == [
        f"{plan['url']}/findings/callbacks" for plan in made["plans"]
    ]
    assert re.findall(r"of <bdi>(\w+)</bdi>", point) == [plan["dag_id"] for plan in made["plans"]]


def test_one_confirmation_clears_all_and_one_receipt_says_so(client, dags, open_set):
    made = make_set(client, "one", "two", "three")
    answer = confirm(client, open_set(made), reason="the database was away")
    assert answer.status_code == 303, answer.text
    assert answer.location.endswith(f"/change_sets/{made['id']}")
    under_way = open_set(made)
    assert title(under_way) == "Clearing: 0 of 6 task instances"
    assert "Waits for its turn" in under_way
    assert [one["turn"] for one in progress(client, made)["plans"]] == ["clearing", "waiting", "waiting"]
    drive_once(made["plans"][0]["id"])
    assert [one["turn"] for one in progress(client, made)["plans"]] == ["cleared", "clearing", "waiting"]
    drive_set(made["id"])
    receipt = open_set(made)
    assert title(receipt) == "Cleared 6 task instances in 3 Dags"
    assert "the database was away" in receipt
    found = progress(client, made)
    assert (found["status"], found["done"], found["total"]) == ("applied", 6, 6)
    assert sum(number for _, number in found["by_state"]) == 6
    assert found["retry_after"] == 0


def selected(page):
    """Return the tokens of the page, each as its name and value; the sentence must not say them again."""
    assert "All tasks" not in page
    [found] = re.findall(r'<dl class="tokens".*?</dl>', page, re.DOTALL)
    return [words(one).strip() for one in re.findall(r"<div>(.*?)</div>", found)]


def test_every_page_of_a_set_has_its_selection_as_tokens(client, session, dags, open_set):
    from airflow.models.taskinstance import TaskInstance

    made, other = make_set(client, "two"), make_set(client, "one", "three")
    preview = open_set(made)
    tokens = selected(preview)
    assert tokens[0] == "Tasks all"
    assert tokens[1].startswith("Failed from ")
    confirm(client, preview)
    assert selected(open_set(made)) == tokens
    drive_set(made["id"])
    receipt = open_set(made)
    assert title(receipt).startswith("Cleared")
    assert selected(receipt) == tokens
    session.execute(update(TaskInstance).where(TaskInstance.dag_id == "three").values(state="success"))
    session.commit()
    assert confirm(client, open_set(other)).status_code == 409
    assert selected(open_set(other)) == tokens


def test_a_set_that_changed_is_a_page_to_act_on(client, session, dags, open_set):
    from airflow.models.taskinstance import TaskInstance

    made = make_set(client, "one", "two", "three")
    page = open_set(made)
    session.execute(update(TaskInstance).where(TaskInstance.dag_id == "two").values(state="success"))
    session.commit()
    answer = confirm(client, page)
    assert answer.status_code == 409
    assert title(answer.text) == "Nothing was cleared: 1 Dag changed after the preview"
    assert title(open_set(made)) == "Nothing was cleared: 1 Dag changed after the preview"
    assert [one["turn"] for one in progress(client, made)["plans"]] == ["not_cleared"] * 3
    without = press(client, answer.text, "Preview without two")
    assert without.status_code == 303, without.text
    assert title(client.get(without.location).text) == "Clear 4 task instances in 2 Dags"
    refused = press(client, answer.text, "Preview again")
    assert refused.status_code == 422
    assert "two can’t be part of this" in words(refused.text).replace(" can’t", " can’t")
    left = press(client, refused.text, "Preview without it")
    assert left.status_code == 303, left.text
    assert title(client.get(left.location).text) == "Clear 4 task instances in 2 Dags"


def test_a_program_is_told_what_drifted(client, session, dags):
    from airflow.models.taskinstance import TaskInstance

    made = make_set(client, "one", "two")
    session.execute(update(TaskInstance).where(TaskInstance.dag_id == "two").values(state="success"))
    session.commit()
    answer = apply_set(client, made)
    assert (answer.status_code, answer.get_json()["status"]) == (409, "stale")


def test_an_expired_set_offers_a_new_preview(client, session, dags, open_set):
    made = make_set(client, "one", "two")
    past = plan_table.c.created_at
    session.execute(update(plan_table).values(expires_at=past))
    session.commit()
    page = open_set(made)
    assert "Expired – nothing was cleared" in page
    assert not [form for form in forms(page) if form["id"] == "confirm"]
    again = press(client, page, "Preview again")
    assert again.status_code == 303, again.text
    assert again.location.rsplit("/", 1)[1] != made["id"]


def test_what_is_missing_is_said_and_what_was_given_stays(client, monkeypatch, dags, open_set):
    configure(monkeypatch, require_reason=True, confirm_above=3)
    made = make_set(client, "one", "two")
    page = open_set(made)
    assert "Type the number of task instances" in page
    answer = confirm(client, page, reason="", confirm_task_instances="5")
    assert answer.status_code == 422
    text = words(answer.text)
    assert "Nothing was done: 2 requirements are missing" in text
    assert "not 5" in text
    assert 'value="5"' in answer.text
    done = confirm(client, answer.text, reason="why", confirm_task_instances="4")
    assert done.status_code == 303, done.text


def test_a_large_set_goes_in_waves_unless_somebody_says_otherwise(client, monkeypatch, dags, open_set):
    configure(monkeypatch, canary_above=3)
    made = make_set(client, "one", "two", "three")
    page = open_set(made)
    assert "First 1 run, then wait for a person" in page
    data = dict(next(form for form in forms(page) if form["id"] == "confirm")["fields"])
    lacking = client.post(f"{SETS}/{made['id']}/apply", data={**data, "acknowledge": acknowledge(page)})
    assert lacking.status_code == 422
    assert "requirement is missing" in words(lacking.text)
    answer = confirm(client, page, **{"waves.first_runs": "1"})
    assert answer.status_code == 303, answer.text
    drive_once(made["plans"][0]["id"])
    driver().run_once()
    assert progress(client, made)["waves"]["runs"]["untouched"] == 2
    under_way = open_set(made)
    assert "Waves" in under_way
    done = press(client, under_way, "change-waves", **{"waves.at_most_runs": "2"})
    assert done.status_code == 303, done.text
    assert progress(client, made)["waves"]["at_most_runs"] == 2
    of_a_plan = client.get(f"/safe_clear/plans/{made['plans'][-1]['id']}").text
    done = press(client, of_a_plan, "Clear the rest at once")
    assert (done.status_code, done.location) == (303, f"{SETS}/{made['id']}")
    assert progress(client, made)["waves"] is None


def test_waves_that_contradict_each_other_are_said_at_the_field(client, dags, open_set):
    made = make_set(client, "one", "two")
    answer = confirm(client, open_set(made), reason="kept", **{"waves.not_before": "2020-01-01 00:00"})
    assert answer.status_code == 422
    assert "is over" in answer.text
    assert "kept" in answer.text


def test_a_second_person_approves(client, monkeypatch, dags, open_set):
    configure(monkeypatch, approve_above=3)
    made = make_set(client, "one", "two")
    page = open_set(made)
    lacking = press(client, page, "ask", reason="")
    assert lacking.status_code == 422
    assert "A reason is required" in lacking.text
    assert press(client, page, "ask", reason="for the report").status_code == 303
    waiting = open_set(made)
    assert "Waiting for approval" in waiting
    assert f"/change_sets/{made['id']}" in waiting
    other = open_set(made, user="operator")
    assert "for the report" in other
    no_reason = press(client, other, "decline", reason="")
    assert no_reason.status_code == 422
    answer = confirm(client, other)
    assert answer.status_code == 303, answer.text
    drive_set(made["id"])
    receipt = words(open_set(made))
    assert "given by operator" in receipt.replace("  ", " ")


def test_a_declined_set_says_why(client, monkeypatch, dags, open_set):
    configure(monkeypatch, approve_above=3)
    made = make_set(client, "one", "two")
    press(client, open_set(made), "ask", reason="for the report")
    declined = press(client, open_set(made, user="operator"), "decline", reason="not today")
    assert declined.status_code == 303, declined.text
    page = open_set(made)
    assert title(page) == "Declined: nothing was cleared"
    assert "not today" in page
    assert press(client, page, "Preview again").status_code == 303


def test_too_many_are_refused_on_the_page(client, monkeypatch, dags, open_set):
    made = make_set(client, "one", "two")
    configure(monkeypatch, max_task_instances=3)
    page = open_set(made)
    assert "Why this change set is refused" in page
    assert not [form for form in forms(page) if form["id"] == "confirm"]


def test_a_stop_keeps_what_is_cleared_and_can_go_on(client, dags, open_set):
    made = make_set(client, "one", "two", "three")
    confirm(client, open_set(made))
    drive_once(made["plans"][0]["id"])
    answer = press(client, open_set(made), "Stop after this batch")
    assert answer.status_code == 303, answer.text
    drive_set(made["id"])
    receipt = open_set(made)
    assert title(receipt) == "2 of 6 task instances were cleared; the other 4 were not changed"
    assert "Stopped by" in receipt
    assert press(client, receipt, "Continue: clear the remaining 4").status_code == 303
    drive_set(made["id"])
    assert title(open_set(made)) == "Cleared 6 task instances in 3 Dags"


def test_undo_whole(client, dags, open_set):
    made = make_set(client, "one", "two")
    confirm(client, open_set(made))
    drive_set(made["id"])
    assert "/undo" in open_set(made)
    preview = open_set(made, "/undo")
    assert title(preview) == "Restore 4 of 4 task instances"
    answer = press(client, preview, "confirm", acknowledge=[], dag_ids=["one", "two"])
    assert answer.status_code == 303, answer.text
    assert title(open_set(made)) == "Restoring: 0 of 4 task instances"
    drive_set(made["id"])
    receipt = open_set(made)
    assert title(receipt) == "All 4 task instances were restored"
    assert "Undone" in receipt
    assert title(open_set(made, "/undo")) == "Nothing can be restored"


def test_nothing_to_undo_in_any_dag_leaves_only_the_way_back(client, session, dags, open_set):
    from airflow.models.taskinstance import TaskInstance

    made = make_set(client, "one", "two")
    confirm(client, open_set(made))
    drive_set(made["id"])
    session.execute(update(TaskInstance).where(TaskInstance.dag_id == "one").values(state="running"))
    session.commit()
    # Of one DAG nothing comes back, but the other can still be chosen.
    assert "Preview again" in open_set(made, "/undo?dag_id=one")
    session.execute(update(TaskInstance).where(TaskInstance.dag_id == "two").values(state="running"))
    session.commit()
    page = open_set(made, "/undo")
    assert title(page) == "Nothing can be restored"
    assert re.search(r"<(button|input|form)\b", page) is None
    assert "Back to the receipt" in page
    assert "All task instances stay as they are." in page


@pytest.mark.parametrize("first_runs", [1, 2])
def test_undo_of_a_set_that_waits_for_a_person_stops_its_clear(
    client, monkeypatch, session, open_set, first_runs
):
    monkeypatch.setattr(release, "LOOK_AGAIN", 0.0)
    fail(session, "one", "two", run_ids=("run_0", "run_1"))
    made = make_set(client, "one", "two")
    waves = {"first_runs": first_runs, "then": "ask"}
    assert apply_set(client, made, waves=waves).status_code == 202
    look(get_change_set(made["id"]), session)
    # Before the cleared runs have started, so that there is something to restore.
    position = first_runs - 1
    wait = {"wave_state": "waiting_for_person", "wave_reason": "first_done", "next_step_at": None}
    session.execute(update(plan_table).where(plan_table.c.position == position).values(**wait))
    session.commit()
    waiting = get_change_set(made["id"]).waiting_plan
    assert waiting.dag_id == ("one" if first_runs == 1 else "two")
    page = open_set(made)
    (link,) = set(re.findall(rf'href="({SETS}/{made["id"]}/undo[^"]*)"', page))
    preview = client.get(html.unescape(link)).text
    assert "This stops it." in words(preview)
    assert press(client, preview, "confirm", acknowledge=[]).status_code == 303
    of = get_change_set(made["id"])
    assert not of.is_applying
    assert of.is_undoing


def test_undo_of_one_dag(client, dags, open_set):
    made = make_set(client, "one", "two")
    confirm(client, open_set(made))
    drive_set(made["id"])
    preview = open_set(made, "/undo?dag_id=two")
    assert title(preview) == "Restore 2 of 2 task instances"
    fields = next(form for form in forms(preview) if form["id"] == "confirm")["fields"]
    assert [value for name, value in fields if name == "dag_ids"] == ["two"]
    assert press(client, preview, "confirm", acknowledge=[]).status_code == 303
    drive_set(made["id"])
    receipt = open_set(made)
    assert title(receipt) == "2 of 4 task instances were restored"
    assert "Undone in part" in receipt
    of = get_change_set(made["id"])
    assert {plan.dag_id: plan.is_undone for plan in of.plans} == {"one": False, "two": True}


def test_what_was_cleared_after_the_undo_was_shown_is_not_undone(client, monkeypatch, session, open_set):
    configure(monkeypatch, batch_size=1)
    fail(session, "one", "two", run_ids=("run_0", "run_1"))
    made = make_set(client, "one", "two")
    confirm(client, open_set(made))
    drive_once(made["plans"][0]["id"])
    assert client.post(f"{SETS}/{made['id']}/stop", json={}, headers=bearer("admin")).status_code == 200
    preview = open_set(made, "/undo")
    assert title(preview) == "Restore 2 of 2 task instances"
    answer = client.post(f"{SETS}/{made['id']}/continue", json={}, headers=bearer("admin"))
    assert answer.status_code == 202, answer.text
    drive_set(made["id"])
    answer = press(client, preview, "confirm", acknowledge=[])
    assert answer.status_code == 409
    assert "The clear of one has continued since this undo was previewed" in words(answer.text)
    assert not get_change_set(made["id"]).is_undoing
    assert press(client, open_set(made, "/undo"), "confirm", acknowledge=[]).status_code == 303
    assert get_change_set(made["id"]).is_undoing


def test_the_page_of_a_plan_leads_to_its_set_and_has_no_confirmation(client, dags, open_set):
    made = make_set(client, "one", "two")
    login(client, "admin")
    page = client.get(made["plans"][0]["url"]).text
    assert "a change set of 2 Dags" in page
    assert f'href="{SETS}/{made["id"]}"' in page
    assert not [form for form in forms(page) if form["id"] == "confirm"]
    confirm(client, open_set(made))
    drive_set(made["id"])
    after = client.get(made["plans"][0]["url"]).text
    assert "a change set of 2 Dags" in after
    assert "Undo…" in after


def test_a_plan_alone_says_nothing_of_a_set(client, session, dags):
    from tests.views.actions import make

    login(client, "admin")
    plan = make(client, dag_id="one", run_id=["run_0"], date_from=None, date_to=None)
    assert "change set" not in client.get(f"/safe_clear/plans/{plan['id']}").text


def test_a_viewer_sees_it_and_can_do_nothing(client, dags, open_set):
    made = make_set(client, "one", "two")
    page = open_set(made, user="viewer")
    assert forms(page) == []
    assert "can’t clear all its Dags" in page
    assert client.get(f"{SETS}/{made['id']}/undo").status_code == 403


def test_there_is_no_page_of_what_does_not_exist(client, dags):
    login(client, "admin")
    assert client.get(f"{SETS}/{'0' * 32}").status_code == 404
    assert client.get(f"{SETS}/nothing").status_code == 404
    assert client.get(f"{SETS}/{'0' * 32}/apply").status_code == 303


def test_the_address_of_a_form_leads_back_to_the_page(client, dags, open_set):
    made = make_set(client, "one", "two")
    login(client, "admin")
    answer = client.get(f"{SETS}/{made['id']}/apply")
    assert (answer.status_code, answer.location) == (303, f"{SETS}/{made['id']}")
    as_json = client.get(f"{SETS}/{made['id']}/apply", headers=bearer("admin"))
    assert as_json.status_code == 405
