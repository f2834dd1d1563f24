"""Checks that did not finish in time, on the plan's page and for programs."""

from __future__ import annotations

import pytest

from safe_clear_plugin.findings import concurrent_plans
from safe_clear_plugin.services.undo import undo_preview
from safe_clear_plugin.storage.findings import affected_task_instances
from tests.support.auth import bearer, login
from tests.support.scenes import store_etl
from tests.support.slow import endless
from tests.views.actions import apply_all, boxes, get, make, path, post, press_and_follow, step


def never(*args, **_):
    session = next(arg for arg in args if hasattr(arg, "scalar"))
    return session.scalar(endless(session))


@pytest.fixture
def short(monkeypatch, session):
    """Give the findings four seconds: what is left must be enough for all others on a busy machine."""
    store_etl(session)
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT", "4")


def test_they_are_not_among_those_that_have_nothing_to_say(client, short, monkeypatch):
    whole = make(client)
    monkeypatch.setattr(concurrent_plans, "other_plans", never)
    plan = make(client)
    assert (whole["findings_not_checked"], plan["findings_not_checked"]) == ([], ["other_plan"])
    login(client, "admin")
    pages = [client.get(path(one)).text for one in (whole, plan)]
    quiet = "plans and clears of others over the same task instances</li>"
    assert [quiet in page for page in pages] == [True, False]
    assert "1 check did not finish in time" in pages[1]


def test_what_might_have_asked_for_a_tick_has_a_box(client, short, monkeypatch):
    for name in ("count_by_task", "count_downstream"):
        monkeypatch.setattr(affected_task_instances, name, never)
    plan = make(client, task_regex="^extract$", include_downstream=False)
    login(client, "admin")
    assert "not_checked" in boxes(client.get(path(plan)).text)
    refused = post(client, plan, "apply", acknowledge=["stale_downstream"])
    assert refused.status_code == 422
    assert [one["value"] for one in refused.get_json()["missing"]] == ["not_checked"]
    assert step(client, plan)["status"] == "applied"


def test_an_estimate_that_was_not_worked_out_does_not_say_that_nothing_starts(client, short, monkeypatch):
    from safe_clear_plugin.airflow_api.scheduling import capacity

    monkeypatch.setattr(capacity, "task_counts", never)
    plan = make(client)
    login(client, "admin")
    page = client.get(path(plan)).text
    assert "the estimate took too long" in page
    assert "nothing will start" not in page


def test_a_preview_that_takes_too_long_is_refused_with_what_to_do(client, short, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__PREVIEW_TIMEOUT", "0.3")
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT", "0")
    monkeypatch.setattr(concurrent_plans, "other_plans", never)
    body = {"dag_id": "etl", "date_from": "2026-01-01", "date_to": "2026-01-31"}
    answer = client.post("/safe_clear/plans", json=body, headers=bearer("admin"))
    assert answer.status_code == 503
    assert "longer than 0.3 s" in answer.get_json()["error"]
    assert "fewer dag runs" in answer.get_json()["remedy"]


def test_task_instances_behind_a_finding_that_take_too_long_are_refused(client, short, monkeypatch):
    plan = make(client, task_regex="^extract$", include_downstream=False)
    [code] = [one["code"] for one in plan["findings"] if one["rows"]]
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT", "0.2")
    monkeypatch.setattr(affected_task_instances, "count_affected", never)
    for kind in ("", ".json"):
        assert get(client, plan, f"/findings/{code}{kind}").status_code == 503


@pytest.fixture
def slow_undo(client, short, monkeypatch):
    """A cleared plan, and what an undo would put back is not found out in time."""
    plan = make(client)
    apply_all(client, plan)
    for option in ("PREVIEW_TIMEOUT", "FINDINGS_TIMEOUT"):
        monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{option}", "0.3")
    monkeypatch.setattr(undo_preview, "_preview", never)
    return plan


def test_a_receipt_offers_the_undo_that_it_cannot_count_in_time(client, slow_undo):
    login(client, "admin")
    receipt = client.get(path(slow_undo))
    assert receipt.status_code == 200
    assert receipt.text.count("not counted within 0.3 s") == 2
    assert f'href="{path(slow_undo, "/undo")}"' in receipt.text


def test_a_program_is_told_that_the_preview_of_an_undo_took_too_long(client, slow_undo):
    for rest in ("/undo", "/undo.json"):
        answer = get(client, slow_undo, rest)
        assert answer.status_code == 503
        assert "longer than 0.3 s" in answer.get_json()["error"]
        assert "preview_timeout" in answer.get_json()["remedy"]


@pytest.mark.parametrize(("query", "put_back"), [("", 6), ("?run_id=run_1&run_id=run_2", 4)])
def test_an_undo_that_cannot_be_previewed_in_time_can_still_be_confirmed(
    client, slow_undo, monkeypatch, query, put_back
):
    login(client, "admin")
    page = client.get(path(slow_undo, f"/undo{query}"))
    assert page.status_code == 503
    assert "longer than 0.3 s" in page.text
    monkeypatch.undo()
    receipt = press_and_follow(client, page.text, "confirm", reason="I mixed the date")
    assert "I mixed the date" in receipt
    assert get(client, slow_undo).get_json()["put_back"] == put_back
