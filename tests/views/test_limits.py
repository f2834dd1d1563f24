"""Limits and acknowledgement over HTTP: page and JSON ask for the same, and say where it is set."""

from __future__ import annotations

import html
import re

import pytest

from safe_clear_plugin.storage.tables import metadata
from tests.support.auth import TEAM_A, bearer, login
from tests.support.factories import make_run, set_states
from tests.support.scenes import START, store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.views.actions import boxes, forms, get, make, path, post, press, press_and_follow, step, title

OWN = {table.name for table in metadata.sorted_tables}
NASTY = "</textarea><script>alert(1)</script>\"'&\u202e"


@pytest.fixture(autouse=True)
def dag(session, auth_manager_name):
    """Three runs with two task instances each to clear."""
    ours = {"access_control": TEAM_A} if auth_manager_name == "fab" else {}
    return store_etl(session, **ours)


@pytest.fixture
def options(monkeypatch):
    """Return a function that sets options of the section ``[safe_clear]``."""

    def set_options(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{name.upper()}", str(value))

    return set_options


@pytest.fixture
def killing(client, session, dag):
    """A plan that terminates what runs, which is to be acknowledged."""
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "success", "transform": "running", "load": None}, session=session)
    return make(client, run_id=["live"], running="terminate")


def missing(answer):
    """Return what is missing, as the answer to a program says it."""
    assert answer.status_code == 422, answer.text
    body = answer.get_json()
    assert body["error"]
    assert body["remedy"]
    return [(one["what"], one["limit"], one["value"], one["set_in"]) for one in body["missing"]]


def text_of(page: str) -> str:
    """Return what a page says, without its markup."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page)))


def test_the_dag_id_is_typed_above_a_limit(client, session, options):
    options(confirm_above=5)
    plan = make(client)
    before = snapshot(session)
    expected = [("confirm_dag_id", "confirm_above", 5, "[safe_clear] confirm_above = 5")]
    assert missing(post(client, plan, "apply")) == expected
    for empty in ("", " ", None):
        refused = post(client, plan, "apply", confirm_dag_id=empty)
        assert (refused.status_code, list(refused.get_json()["errors"])) == (422, ["confirm_dag_id"])
    assert missing(post(client, plan, "apply", confirm_dag_id="ETL")) == expected
    assert [one["what"] for one in get(client, plan).get_json()["required"]] == ["confirm_dag_id"]

    login(client, "admin")
    page = client.get(path(plan)).text
    assert 'data-expected="etl"' in page
    assert "Required above 5 task instances" in page
    assert "[safe_clear] confirm_above = 5" in page
    refused = press(client, page, "confirm", reason="bad rates", confirm_dag_id="elt")
    assert refused.status_code == 422
    assert "1 requirement is missing" in text_of(refused.text)
    assert 'value="elt"' in refused.text
    assert ">bad rates</textarea>" in refused.text
    assert 'aria-invalid="true"' in refused.text
    assert diff_snapshots(before, snapshot(session)) == {}
    page = press_and_follow(client, refused.text, "confirm", reason="", confirm_dag_id=" etl ")
    assert title(page) == "Cleared 6 task instances in 3 runs of etl"


@pytest.mark.parametrize("limit", [0, 6, 7])
def test_at_the_limit_nothing_is_typed(client, options, limit):
    options(confirm_above=limit, max_task_instances=limit, approve_above=limit)
    plan = make(client)
    login(client, "admin")
    assert "confirm_dag_id" not in client.get(path(plan)).text
    assert get(client, plan).get_json()["required"] == []
    assert post(client, plan, "apply").status_code == 202


def test_out_of_the_box_two_hundred_are_the_limit(client):
    plan = make(client)
    assert plan["required"] == []
    assert post(client, plan, "apply").status_code == 202


@pytest.mark.parametrize(
    ("option", "value", "shown", "code", "says"),
    [
        ("max_task_instances", 5, " = 5", "too_many", "too many: one clear can take 5"),
        ("protected", "(etl|salaries):^load$ etl:x", " = etl:^load$", "protected", "is protected"),
        ("protected", "x:y salaries:(", "", "protected_unreadable", "can't be read"),
    ],
)
def test_a_refused_plan_can_be_looked_at_only(client, session, options, option, value, shown, code, says):
    options(**{option: value})
    plan = make(client)
    [finding] = [one for one in plan["findings"] if one["level"] == "refuse"]
    assert finding["code"] == code
    assert says in finding["title"]
    before = snapshot(session)
    refusal = post(client, plan, "apply", confirm_dag_id="etl", reason="x")
    [(what, limit, _, set_in)] = missing(refusal)
    assert (what, limit, set_in) == (code, option, f"[safe_clear] {option}{shown}")
    # The option may name DAGs that not everyone may see.
    assert "salaries" not in refusal.text + str(plan)
    login(client, "admin")
    page = client.get(path(plan)).text
    assert title(page).startswith("Refused: ")
    assert says in html.unescape(page)
    assert "salaries" not in page
    assert "This plan is refused." in page
    assert not [form for form in forms(page) if form["action"].endswith(("/apply", "/ask"))]
    assert diff_snapshots(before, snapshot(session)) == {}
    options(**{option: 0 if isinstance(value, int) else ""})
    assert missing(post(client, plan, "apply"))[0][:2] == (code, option)
    assert post(client, make(client), "apply").status_code == 202


def test_a_limit_that_came_after_the_preview(client, session, options):
    plan = make(client)
    login(client, "admin")
    page = client.get(path(plan)).text
    options(max_task_instances=5, require_reason="True")
    before = snapshot(session)
    refused = press(client, page, "confirm", reason="")
    assert refused.status_code == 422
    assert title(refused.text).startswith("Refused: 6 task instances")
    assert "2 requirements are missing" in text_of(refused.text)
    assert "max_task_instances = 5" in refused.text
    assert [what for what, *_ in missing(post(client, plan, "apply"))] == ["too_many", "reason"]
    assert diff_snapshots(before, snapshot(session)) == {}


def test_a_reason_is_required(client, session, options):
    options(require_reason="True")
    plan = make(client)
    set_in = "[safe_clear] require_reason = True"
    assert missing(post(client, plan, "apply")) == [("reason", "require_reason", True, set_in)]
    for reason in ("", "  \n", "\x00", None):
        refused = post(client, plan, "apply", reason=reason)
        assert (refused.status_code, list(refused.get_json()["errors"])) == (422, ["reason"])
    login(client, "admin")
    page = client.get(path(plan)).text
    assert "(required)" in page
    refused = press(client, page, "confirm", reason=" ")
    assert refused.status_code == 422
    assert 'href="#reason"' in refused.text
    page = press_and_follow(client, refused.text, "confirm", reason=NASTY)
    assert "alert(1)" in page
    assert "<script>alert" not in page


def test_acknowledged_or_not_cleared(client, session, killing):
    codes = [one["code"] for one in killing["findings"] if one["level"] == "acknowledge"]
    assert "running_terminated" in codes
    before = snapshot(session)
    for ticked in ([], ["running_left_out"], [code for code in codes if code != "running_terminated"]):
        found = missing(post(client, killing, "apply", acknowledge=ticked))
        assert ("acknowledge", None, "running_terminated", None) in found
        assert not {value for _, _, value, _ in found} & set(ticked)
    for wrong in ("running_terminated", {"running_terminated": True}, [1], [None]):
        assert post(client, killing, "apply", acknowledge=wrong).status_code == 422
    assert diff_snapshots(before, snapshot(session)) == {}
    assert step(client, killing, acknowledge=[*codes, "x", *codes])["status"] == "applied"
    assert get(client, killing).get_json()["acknowledged"] == codes
    login(client, "admin")
    receipt = client.get(path(killing)).text
    assert 'id="consent-title">Acknowledged</h2>' in receipt
    assert "1 running task instance will be terminated" in receipt


def test_ticked_on_the_page(client, session, killing):
    login(client, "admin")
    page = client.get(path(killing)).text
    codes = boxes(page)
    assert "running_terminated" in codes
    assert f"Acknowledge {len(codes)} finding" in page
    before = snapshot(session)
    refused = press(client, page, "confirm", reason=NASTY, acknowledge=[])
    assert refused.status_code == 422
    assert "Not acknowledged: 1 running task instance will be terminated." in text_of(refused.text)
    assert html.escape(NASTY, quote=False).replace('"', "&#34;").replace("'", "&#39;") in refused.text
    refused = press(client, page, "confirm", reason="", acknowledge=["running_terminated"])
    if len(codes) == 1:
        assert refused.status_code == 303
        return
    assert refused.status_code == 422
    ticked = [box for box in re.findall(r"<input [^>]*>", refused.text) if " checked" in box]
    assert ["running_terminated" in box for box in ticked] == [True]
    assert diff_snapshots(before, snapshot(session)) == {}


def test_a_viewer_is_asked_for_nothing(client, session, options, killing):
    options(confirm_above=1, require_reason="True")
    login(client, "viewer")
    page = client.get(path(killing)).text
    assert not [form for form in forms(page) if form["action"].endswith("/apply")]
    assert "confirm_dag_id" not in page
    assert post(client, killing, "apply", user="viewer").status_code == 403


def test_the_bar_says_what_where_and_then_what(client, session, dag):
    run = make_run(dag, session=session, run_id="live", logical_date=START.replace(day=9), state="running")
    set_states(run, {"extract": "success", "transform": "running", "load": None}, session=session)
    plan = make(client)
    login(client, "admin")
    page = client.get(path(plan)).text
    dock = text_of(page[page.index('class="dock plan-dock"') :])
    assert (
        "Clear 7 task instances of 2 tasks in 4 runs of etl, "
        "Thu 2026-01-01 00:00 to Fri 2026-01-09 00:00 UTC; 1 running task instance left out; "
        "3 runs will be Queued, 1 stays Running"
    ) in dock
    assert dock.rstrip().endswith("Clear 7 task instances Preview again")
    assert "autofocus" not in page


def test_an_expired_plan_is_expired_whatever_is_missing(client, session, options, monkeypatch):
    options(plan_ttl_minutes=0, require_reason="True", confirm_above=1)
    plan = make(client)
    assert post(client, plan, "apply").status_code == 410
    login(client, "admin")
    page = client.get(path(plan)).text
    assert not [form for form in forms(page) if form["action"].endswith("/apply")]


def test_another_fingerprint_is_told_nothing_of_the_limits(client, options):
    options(confirm_above=1)
    plan = make(client)
    assert post(client, plan, "apply", fingerprint="0" * 64).status_code == 409


@pytest.mark.parametrize("confirm_dag_id", [["etl"], {"etl": 1}, 7])
def test_a_dag_id_that_is_none(client, session, confirm_dag_id):
    plan = make(client)
    before = snapshot(session)
    assert post(client, plan, "apply", confirm_dag_id=confirm_dag_id).status_code == 422
    assert diff_snapshots(before, snapshot(session)) == {}


def test_form_data_of_a_program_is_asked_the_same(client, session, killing, options):
    options(confirm_above=1)
    form = {"fingerprint": killing["fingerprint"], "confirm_dag_id": "etl"}
    answer = client.post(path(killing, "/apply"), data=form, headers=bearer("admin"))
    assert "running_terminated" in [value for _, _, value, _ in missing(answer)]
    codes = [one["code"] for one in killing["findings"] if one["level"] == "acknowledge"]
    form = {**form, "acknowledge": codes}
    assert client.post(path(killing, "/apply"), data=form, headers=bearer("admin")).status_code == 202


@pytest.mark.parametrize(
    ("name", "value"), [("confirm_above", "many"), ("max_task_instances", ""), ("require_reason", "perhaps")]
)
def test_an_option_that_cannot_be_read_refuses_and_says_which(client, options, session, name, value):
    plan = make(client)
    options(**{name: value})
    answer = post(client, plan, "apply")
    assert answer.status_code == 503
    assert f"`{name}`" in answer.get_json()["error"]
    assert get(client, plan).get_json()["error"] == answer.get_json()["error"]
