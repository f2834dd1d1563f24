"""Change sets over HTTP: the requests and answers of programs, and refusals."""

from __future__ import annotations

import json
import re
import time

import jsonschema
import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import DAG
from sqlalchemy import select, update

from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget
from safe_clear_plugin.services.change_sets.stored import get_change_set
from safe_clear_plugin.services.undo import undo_preview as undo_previews
from safe_clear_plugin.storage.tables import change_set, plan, plan_run
from safe_clear_plugin.web.api.change_set_answers import ChangeSetAnswer, Sensors, SetUndoPreview
from safe_clear_plugin.web.api.wave_answers import WavesAnswer
from tests.support.auth import TEAM_A, TEAM_A_ROLE, TEAM_B, bearer, login
from tests.support.driving import driver, end_pause
from tests.support.factories import make_run, store_dag
from tests.support.scenes import START, store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.support.webhook import configure, give_up, messages

pytestmark = [pytest.mark.auth_manager, pytest.mark.airflow32]

SETS = "/safe_clear/change_sets"
DAGS = ("dag_a", "dag_b")
LONGEST = 60
DATED = {"date_from": "2026-01-01", "date_to": "2026-01-31"}


@pytest.fixture(autouse=True)
def dags(session, auth_manager_name):
    """Two DAGs of team A, and one of team B."""
    fab = auth_manager_name == "fab"
    for dag_id, team in (("dag_a", TEAM_A), ("dag_b", TEAM_A), ("dag_z", TEAM_B)):
        store_etl(session, dag_id, runs=2, **({"access_control": team} if fab else {}))


@pytest.fixture
def unchanged(session):
    """Check the consistency of the database at the end of the test."""
    before = snapshot(session)
    yield
    session.rollback()
    assert diff_snapshots(before, snapshot(session)) == {}


def send(client, address="", user="admin", **body):
    return client.post(f"{SETS}{address}", json=body, headers=bearer(user))


def make(client, user="admin", **body):
    body = {"dag_ids": list(DAGS), **DATED, **body}
    answer = send(client, user=user, **{name: value for name, value in body.items() if value is not None})
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def get(client, made, user="admin"):
    return client.get(f"{SETS}/{made['id']}.json", headers=bearer(user))


def act(client, made, what, user="admin", **body):
    """Send a change; ``apply`` carries the fingerprint, and ticks the findings to acknowledge."""
    if what == "apply":
        ticked = [[one["dag_id"], one["code"]] for one in made["findings"] if one["level"] == "acknowledge"]
        body = {"fingerprint": made["fingerprint"], "acknowledge": ticked, **body}
    return send(client, f"/{made['id']}/{what}", user, **body)


def drive(made):
    """Let a driver end all work in progress."""
    end = time.monotonic() + LONGEST
    while (found := get_change_set(made["id"])).is_applying or found.is_undoing:
        assert time.monotonic() < end, f"no end within {LONGEST} s"
        end_pause()
        driver().run_once()
    return found


def statuses(body):
    return [one["status"] for one in body["plans"]]


def csrf(client):
    return re.search(r'name="csrf_token" value="([^"]+)"', client.get("/safe_clear/select").text)[1]


@pytest.fixture
def check(client):
    """Compare an answer with the API's description of an operation; return its JSON."""
    document = client.get("/safe_clear/openapi.json", headers=bearer("admin")).get_json()
    operations = {one["operationId"]: one for path in document["paths"].values() for one in path.values()}

    def compare(name, answer):
        response = operations[name]["responses"][str(answer.status_code)]
        schema = response["content"]["application/json"]["schema"]
        jsonschema.validate(answer.get_json(), {**schema, "components": document["components"]})
        return answer.get_json()

    return compare


def test_the_life_of_a_set_is_as_described(client, session, check):
    answer = send(client, dag_ids=list(DAGS), reason="bad rates", **DATED)
    made = check("create_change_set", answer)
    assert answer.status_code == 201
    assert (made["status"], made["task_instances"], made["dag_runs"]) == ("ready", 12, 4)
    assert [one["dag_id"] for one in made["plans"]] == list(DAGS)
    assert {one["change_set"] for one in made["plans"]} == {made["id"]}
    assert made["url"].endswith(f"/safe_clear/change_sets/{made['id']}")
    assert (made["reason"], made["retry_after"], made["left_out"]) == ("bad rates", 0, [])
    assert made["made_from"]["chosen_by"] == "dag_ids"
    assert made["made_from"]["selection"]["date_from"] == "2026-01-01T00:00:00+00:00"
    check("change_set_json", get(client, made))
    check("change_set_undo_preview_json", undo_preview(client, made))
    check("apply_change_set", act(client, made, "apply", fingerprint="0" * 64))
    answer = act(client, made, "apply", reason="because")
    assert answer.status_code == 202
    assert answer.headers["Retry-After"] == "1"
    body = check("apply_change_set", answer)
    assert (body["status"], statuses(body)) == ("applying", ["applying"] * 2)
    assert act(client, made, "apply", reason="because").status_code == 202
    body = check("stop_change_set", act(client, made, "stop"))
    assert (body["status"], body["stopped_by"]) == ("stopped", "dag_a")
    assert body["problem"]["kind"] == "stopped"
    assert act(client, made, "apply").status_code == 409
    assert check("continue_change_set", act(client, made, "continue"))["status"] == "applying"
    drive(made)
    body = check("apply_change_set", act(client, made, "apply", reason="because"))
    assert (body["status"], body["cleared"], body["retry_after"]) == ("applied", 12, 0)
    answer = act(client, made, "undo", runs={"dag_b": ["run_2"]}, reason="one too many")
    assert answer.status_code == 202
    assert check("undo_change_set", answer)["under_undo"]
    drive(made)
    act(client, made, "undo", dag_ids=["dag_b"])
    drive(made)
    assert statuses(get(client, made).get_json()) == ["applied", "undone"]
    act(client, made, "undo")
    drive(made)
    body = check("change_set_json", get(client, made))
    assert (body["status"], body["put_back"], body["under_undo"]) == ("undone", 12, False)
    listed = client.get("/safe_clear/plans.json", headers=bearer("admin")).get_json()["items"]
    assert {one["change_set"] for one in listed} == {made["id"]}


def test_what_failed_in_a_window_is_made_a_set_of(client):
    made = make(
        client,
        dag_ids=None,
        failed_from="2026-01-01T00:00Z",
        failed_to="2026-01-01T23:00Z",
        date_from=None,
        date_to=None,
        include_downstream=True,
        include_setups=True,
    )
    assert [one["dag_id"] for one in made["plans"]] == ["dag_a", "dag_b", "dag_z"]
    assert made["made_from"]["chosen_by"] == "failed"
    assert make(client, dag_ids=None, dag_id_regex="^dag_[az]$")["dag_runs"] == 4


NOT_A_LIST = ["dag_a", 1, True, {}, None, [], [""], [None], [["dag_a"]], [" "], ["dag_a", ""], [1]]
NOT_A_TEXT = ["", None, [], ["x"], {}, 1, True]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("field", "values"),
    [
        *((name, NOT_A_LIST) for name in ("dag_ids", "tags", "owners", "state", "run_id")),
        *((name, NOT_A_TEXT) for name in ("dag_id_regex", "task_regex", "failed_from", "reason")),
        ("dag_id", ["dag_a"]),
        ("dag_id_regexp", ["x"]),
        ("tag", [["x"]]),
    ],
)
def test_what_is_empty_misspelt_or_of_another_type_makes_no_set(client, field, values):
    for value in values:
        body = {"dag_ids": ["dag_a"], **DATED, field: value}
        answer = client.post(
            SETS, data=json.dumps(body), headers={**bearer("admin"), "Content-Type": "application/json"}
        )
        assert answer.status_code == 422, (value, answer.text)
        assert field in answer.get_json()["errors"] or field in answer.get_json().get("unknown", [])


@pytest.mark.usefixtures("unchanged")
def test_a_choice_by_nothing_or_by_two_things_is_refused_at_its_field(client):
    answer = send(client, **DATED)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["dag_ids"])
    answer = send(client, tags=["a"], owners=["b"], **DATED)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["owners"])
    answer = send(client, dag_ids=["dag_a"])
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["date_from"])
    answer = send(client, dag_ids=["dag_a", "dag_nope"], **DATED)
    assert answer.status_code in (404, 422)
    assert [one["dag_id"] for one in answer.get_json()["dags"]] == ["dag_nope"]
    assert (
        client.post(
            SETS, data="{", headers={**bearer("admin"), "Content-Type": "application/json"}
        ).status_code
        == 400
    )


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("apply", {"acknowledge": None}),
        ("apply", {"acknowledge": ["stale_downstream"]}),
        ("apply", {"acknowledge": [["dag_a"]]}),
        ("apply", {"acknowledge": {"dag_a": ["x"]}}),
        ("apply", {"confirm_task_instances": "12"}),
        ("apply", {"confirm_task_instances": True}),
        ("apply", {"confirm_task_instances": 11}),
        ("apply", {"waves": {}}),
        ("apply", {"waves": {"first_runs": "1"}}),
        ("apply", {"waves": {"all_at_once": True, "first_runs": 1}}),
        ("continue", {"skip_failed": 1}),
        ("apply", {"fingerprint": None}),
        ("apply", {"resume": True}),
        ("stop", {"reason": "x"}),
        ("continue", {"skip_stopped": "true"}),
        ("undo", {"dag_ids": []}),
        ("undo", {"dag_ids": None}),
        ("undo", {"dag_ids": "dag_a"}),
        ("undo", {"runs": {}}),
        ("undo", {"runs": None}),
        ("undo", {"runs": []}),
        ("undo", {"runs": {"dag_a": []}}),
        ("undo", {"runs": {"dag_a": "run_1"}}),
        ("undo", {"runs": {"": ["run_1"]}}),
        ("undo", {"runs": {"dag_a": ["run_1"]}, "dag_ids": ["dag_a"]}),
        ("undo", {"run_id": ["run_1"]}),
        ("undo", {"cleared_runs": None}),
        ("undo", {"cleared_runs": 2}),
        ("undo", {"cleared_runs": {"dag_a": -1}}),
        ("undo", {"cleared_runs": {"dag_a": "2"}}),
    ],
)
def test_a_request_that_says_something_else_changes_nothing(client, session, what, body):
    made = make(client)
    before = snapshot(session)
    session.rollback()
    answer = act(client, made, what, **body)
    assert answer.status_code == 422, answer.text
    assert diff_snapshots(before, snapshot(session)) == {}


def test_what_a_confirmation_lacks_is_listed(client, session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CONFIRM_ABOVE", "6")
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__CANARY_ABOVE", "6")
    session.execute(update(TaskInstance).where(TaskInstance.task_id == "load").values(state="success"))
    session.commit()
    made = make(client, task_regex="^(extract|transform)$")
    needed = [(one["what"], one["value"]) for one in made["required"]]
    assert needed == [
        ("acknowledge", ["dag_a", "stale_downstream"]),
        ("acknowledge", ["dag_b", "stale_downstream"]),
        ("confirm_task_instances", 6),
        ("waves", 6),
    ]
    answer = act(client, made, "apply", acknowledge=[])
    assert (answer.status_code, answer.get_json()["missing"]) == (422, made["required"])
    answer = act(client, made, "apply", confirm_task_instances=8, waves={"all_at_once": True})
    assert answer.status_code == 202, answer.text


def test_a_stale_dag_is_named(client, session):
    made = make(client)
    session.execute(update(TaskInstance).where(TaskInstance.dag_id == "dag_b").values(state="success"))
    session.commit()
    answer = act(client, made, "apply")
    assert answer.status_code == 409
    assert "dag_b" in answer.get_json()["error"]
    assert answer.get_json()["dags"][0]["drift"]
    body = get(client, made).get_json()
    assert (body["status"], body["stopped_by"], statuses(body)) == ("stale", "dag_b", ["ready", "stale"])
    expired = make(client, dag_ids=["dag_a"])
    session.execute(update(plan).where(plan.c.status == "ready").values(expires_at=START))
    session.commit()
    assert act(client, expired, "apply").status_code == 410


def test_who_may_not_clear_a_dag_plans_and_applies_no_set_with_it(client, session, auth_manager_name):
    made = make(client)
    assert get(client, made, "viewer").status_code == 200
    for what, body in (
        ("apply", {}),
        ("stop", {}),
        ("continue", {}),
        ("undo", {}),
        ("ask", {"reason": "x"}),
        ("decline", {"reason": "x"}),
    ):
        answer = act(client, made, what, "viewer", **body)
        assert answer.status_code == 403, (what, answer.text)
        assert [one["dag_id"] for one in answer.get_json()["dags"]] == list(DAGS)
    assert send(client, user="viewer", dag_ids=list(DAGS), **DATED).status_code == 403
    assert send(client, user="viewer", dag_id_regex="dag_", **DATED).status_code == 403
    assert statuses(get(client, made).get_json()) == ["ready"] * 2
    if auth_manager_name == "fab":
        assert get(client, made, "nobody").status_code == 404
        assert send(client, user="nobody", dag_ids=list(DAGS), **DATED).status_code == 404
        assert send(client, user="nobody", dag_id_regex="dag_", **DATED).status_code == 422


def test_an_operator_meets_only_the_dags_that_they_may_read(client, auth_manager_name):
    if auth_manager_name != "fab":
        pytest.skip("SimpleAuthManager knows no permissions per DAG")
    made = make(client, "operator", dag_ids=None, dag_id_regex="^dag_")
    assert [one["dag_id"] for one in made["plans"]] == list(DAGS)
    answer = send(client, user="operator", dag_ids=["dag_a", "dag_z"], **DATED)
    assert (answer.status_code, answer.get_json()["dags"][0]["dag_id"]) == (404, "dag_z")
    other = make(client, dag_ids=["dag_a", "dag_z"])
    for answer in (get(client, other, "operator"), act(client, other, "apply", "operator")):
        assert answer.status_code == 403
        assert "dag_z" not in answer.text
    whole = make(client, dag_ids=["dag_z"])
    assert get(client, whole, "operator").status_code == 404
    assert act(client, made, "apply", "operator").status_code == 202
    drive(made)
    assert act(client, made, "undo", "operator", dag_ids=["dag_b"]).status_code == 202


def test_there_is_no_such_set(client):
    for set_id in ("nope", "0" * 32):
        assert client.get(f"{SETS}/{set_id}.json", headers=bearer("admin")).status_code == 404
        assert act(client, {"id": set_id}, "stop").status_code == 404
    assert client.get(f"{SETS}/{'0' * 32}.json").status_code == 401
    assert client.post(SETS, json={}).status_code == 401


def test_a_post_by_cookie_needs_the_token_and_a_form_says_the_same(client, session):
    made = make(client)
    login(client, "admin")
    for address in ("", *(f"/{made['id']}/{what}" for what in ("apply", "stop", "continue", "undo", "ask"))):
        assert client.post(f"{SETS}{address}", data={}).status_code == 403
        assert client.post(f"{SETS}{address}", json={}).status_code == 403
    token = csrf(client)
    data = {"csrf_token": token, "dag_ids": "dag_a\r\ndag_b", **DATED}
    answer = client.post(SETS, data=data, headers={"Accept": "application/json"})
    assert answer.status_code == 201
    assert len(answer.get_json()["plans"]) == 2
    ticked = [json.dumps(["dag_a", "x"]), json.dumps(["dag_b", "y"])]
    data = {"csrf_token": token, "fingerprint": made["fingerprint"], "acknowledge": ticked}
    answer = client.post(f"{SETS}/{made['id']}/apply", data=data, headers={"Accept": "application/json"})
    assert answer.status_code == 202, answer.text


def test_one_plan_of_a_set_is_not_applied_alone(client):
    made = make(client)
    one = made["plans"][0]
    body = {"fingerprint": one["fingerprint"]}
    for what, sent in (
        ("apply", body),
        ("continue", {}),
        ("ask", {"reason": "x"}),
        ("decline", {"reason": "x"}),
    ):
        answer = client.post(f"/safe_clear/plans/{one['id']}/{what}", json=sent, headers=bearer("admin"))
        assert (answer.status_code, answer.get_json()["change_set"]) == (409, made["id"])
    found = client.get(f"/safe_clear/plans/{one['id']}.json", headers=bearer("admin")).get_json()
    assert found["change_set"] == made["id"]


def test_above_a_size_a_second_person_applies_the_set(client, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "6")
    made = make(client)
    answer = act(client, made, "apply", reason="x")
    assert (answer.status_code, answer.get_json()["missing"][0]["what"]) == (403, "approval")
    assert act(client, made, "ask").status_code == 422
    answer = act(client, made, "ask", reason="bad rates")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "waiting")
    answer = act(client, made, "apply", "operator")
    assert answer.status_code == 202, answer.text
    assert answer.get_json()["approved_by"] is not None
    other = make(client)
    act(client, other, "ask", reason="again")
    assert act(client, other, "decline", "operator").status_code == 422
    answer = act(client, other, "decline", "operator", reason="no")
    assert (answer.get_json()["status"], answer.get_json()["decline_reason"]) == ("declined", "no")


def test_a_set_goes_in_waves_and_says_how_they_stand(client, session):
    made = make(client)
    assert made["waves"] is None
    answer = act(client, made, "apply", waves={"first_runs": 1, "at_most_runs": 2})
    assert answer.status_code == 202, answer.text
    waves = answer.get_json()["waves"]
    WavesAnswer.model_validate(waves)
    assert (waves["first_runs"], waves["then"], waves["state"]) == (1, "ask", "clearing")
    assert (waves["runs"]["untouched"], waves["runs"]["done"]) == (4, 0)
    assert act(client, made, "apply", waves={"all_at_once": True}).status_code == 409
    end_pause()
    driver().run_once()
    found = get(client, made).get_json()
    assert (found["cleared_runs"], found["waves"]["runs"]["untouched"]) == (1, 3)
    assert act(client, made, "continue").status_code == 409
    changed = act(client, made, "waves", waves={"first_runs": 1, "at_most_runs": 3}, reason="faster")
    assert (changed.status_code, changed.get_json()["waves"]["at_most_runs"]) == (202, 3)
    assert act(client, made, "waves").status_code == 422
    assert act(client, made, "waves", "viewer", waves={"at_most_runs": 3}).status_code == 403
    wait = {"wave_state": "waiting_for_person", "wave_reason": "first_done", "next_step_at": None}
    session.execute(update(plan).where(plan.c.position == 0).values(**wait))
    session.commit()
    found = get(client, made).get_json()
    assert (found["waves"]["state"], found["waves"]["reason"]) == ("waiting_for_person", "first_done")
    answer = act(client, made, "continue", skip_failed=True, waves={"at_most_runs": 1})
    assert (answer.status_code, answer.get_json()["waves"]["state"]) == (202, "clearing")
    assert (answer.get_json()["waves"]["first_runs"], answer.get_json()["waves"]["at_most_runs"]) == (None, 1)
    assert act(client, made, "stop").get_json()["status"] == "stopped"
    assert act(client, made, "waves", waves={"at_most_runs": 3}).status_code == 409


def test_what_the_webhook_was_not_told_is_listed(client, session, monkeypatch):
    configure(monkeypatch, "https://hooks.example")
    made = make(client)
    act(client, made, "apply", reason="x")
    assert [row.event for row in messages(session)] == ["started"]
    give_up(session)
    (missed,) = get(client, made).get_json()["undelivered"]
    assert missed["event"] == "started"


def test_the_undo_page_needs_rights_for_the_chosen_dags_alone(client, session, auth_manager_name):
    if auth_manager_name != "fab":
        pytest.skip("SimpleAuthManager knows no permissions per DAG")
    store_etl(session, "dag_r", runs=2, access_control={TEAM_A_ROLE: {"DAGs": {"can_read"}}})
    made = make(client, dag_ids=["dag_a", "dag_r"])
    act(client, made, "apply", reason="x")
    drive(made)
    login(client, "operator")
    address = f"{SETS}/{made['id']}/undo"
    assert client.get(address).status_code == 403
    assert client.get(f"{address}?dag_id=dag_r").status_code == 403
    page = client.get(f"{address}?dag_id=dag_a")
    assert page.status_code == 200, page.text
    assert "Restore 6 of 6 task instances in 1 Dag" in page.text
    assert "You can’t clear dag_r" in page.text


def test_the_undo_page_has_the_time_of_one_preview_for_all_dags(client, monkeypatch):
    made = make(client)
    act(client, made, "apply", reason="x")
    drive(made)
    asked = []

    def uses_all(budget):
        asked.append(budget)
        budget.check()
        monkeypatch.setattr(budget, "_ends", 0.0)

    login(client, "admin")
    real = undo_previews.limited

    def limited(budget, session):
        uses_all(budget)
        return real(budget, session)

    monkeypatch.setattr(undo_previews, "limited", limited)
    page = client.get(f"{SETS}/{made['id']}/undo")
    assert page.status_code == 200
    assert len({id(budget) for budget in asked}) == 1
    assert page.text.count("The undo preview took longer than") == 2


def test_dags_that_were_left_out_are_named_to_who_may_see_them(client, session, auth_manager_name):
    session.execute(update(TaskInstance).where(TaskInstance.dag_id == "dag_z").values(state="success"))
    session.commit()
    made = make(client, dag_ids=None, dag_id_regex="^dag_", state=["failed"])
    assert [one["dag_id"] for one in made["left_out"]] == ["dag_z"]
    seen = get(client, made, "operator").get_json()
    assert [one["dag_id"] for one in seen["left_out"]] == ([] if auth_manager_name == "fab" else ["dag_z"])
    assert session.scalar(select(change_set.c.left_out))


@pytest.fixture
def waiting(session, auth_manager_name):
    """A DAG of team B with a sensor that waits for the first."""
    ours = {"access_control": TEAM_B} if auth_manager_name == "fab" else {}
    with DAG("waits", schedule=None, start_date=START, **ours) as dag:
        sensor = ExternalTaskSensor(task_id="wait", external_dag_id="dag_a", external_task_id="load")
        _ = sensor >> EmptyOperator(task_id="after")
    store_dag(dag, session=session)
    make_run(dag, session=session, logical_date=START, run_id="run_1", state="success")


def plan_of_a(client):
    body = {"dag_id": "dag_a", "run_id": ["run_1"]}
    return client.post("/safe_clear/plans", json=body, headers=bearer("admin")).get_json()


@pytest.mark.usefixtures("waiting")
def test_the_dags_that_wait_for_a_plan_are_listed_and_planned_with_it(client, auth_manager_name):
    address = f"/safe_clear/plans/{plan_of_a(client)['id']}/waiting_dags"
    found = client.get(f"{address}.json", headers=bearer("admin")).get_json()
    assert Sensors.model_validate(found)
    assert [(one["dag_id"], one["task_id"], one["execution_delta"]) for one in found["items"]] == [
        ("waits", "wait", None)
    ]
    if auth_manager_name == "fab":
        theirs = client.get(f"{address}.json", headers=bearer("operator")).get_json()
        assert theirs == {"items": [], "hidden": 1}
    assert client.post(address, json={}, headers=bearer("viewer")).status_code == 403
    refused = client.post(address, json={}, headers=bearer("admin"))
    assert (refused.status_code, refused.get_json()["left_out"][0]["dag_id"]) == (422, "waits")
    body = {"deltas": [["waits", "wait", 0]], "reason": "bad rates"}
    made = client.post(address, json=body, headers=bearer("admin"))
    assert made.status_code == 201, made.text
    assert [one["dag_id"] for one in made.get_json()["plans"]] == ["dag_a", "waits"]
    assert made.get_json()["made_from"]["chosen_by"] == "waiting"
    ChangeSetAnswer.model_validate(made.get_json())


def test_who_cannot_see_the_awaited_dag_learns_nothing_of_it(client, session, auth_manager_name):
    fab = auth_manager_name == "fab"
    with DAG("ours", schedule=None, start_date=START, **({"access_control": TEAM_A} if fab else {})) as dag:
        ExternalTaskSensor(task_id="wait", external_dag_id="dag_z", external_task_id="load")
    store_dag(dag, session=session)
    make_run(dag, session=session, logical_date=START, run_id="run_1", state="success")
    body = {"dag_id": "dag_z", "run_id": ["run_1"]}
    root = client.post("/safe_clear/plans", json=body, headers=bearer("admin")).get_json()["id"]
    session.execute(update(plan).values(status="applied", cleared_runs=1))
    session.execute(update(plan_run).values(applied_at=START))
    session.commit()
    deltas = {"deltas": [["ours", "wait", 0]]}
    answer = client.post(f"/safe_clear/plans/{root}/waiting_dags", json=deltas, headers=bearer("admin"))
    assert answer.status_code == 201, answer.text
    made = answer.get_json()
    assert ([one["dag_id"] for one in made["plans"]], made["made_from"]["plan"]) == (["ours"], root)
    login(client, "admin")
    assert "The sensors in each Dag that waits for dag_z" in client.get(f"{SETS}/{made['id']}").text
    found = get(client, made, "operator")
    ChangeSetAnswer.model_validate(found.get_json())
    login(client, "operator")
    page = client.get(f"{SETS}/{made['id']}")
    assert (found.status_code, page.status_code) == (200, 200)
    for text in (found.text, page.text):
        assert (root in text) is (not fab and text == found.text)
        assert ("dag_z" in text) is not fab


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize(
    "deltas",
    [
        None,
        {},
        "waits",
        [["waits", "wait"]],
        [["waits", "wait", None]],
        [["waits", "wait", "0"]],
        [["waits", "wait", True]],
        [["waits", "wait", 0], ["waits", "wait", 1]],
        [["", "wait", 0]],
        [["waits", "wait", 10**12]],
    ],
)
def test_a_delta_that_says_something_else_is_refused(client, deltas):
    plan = plan_of_a(client)
    address = f"/safe_clear/plans/{plan['id']}/waiting_dags"
    assert client.post(address, json={"deltas": deltas}, headers=bearer("admin")).status_code == 422


def undo_preview(client, made, query="", user="admin"):
    return client.get(f"{SETS}/{made['id']}/undo.json{query}", headers=bearer(user))


def test_the_preview_of_an_undo_says_what_it_does_in_each_dag(client, session):
    made = make(client)
    found = undo_preview(client, made).get_json()
    assert (found["plans"], found["put_back"]) == ([], 0)
    assert "Nothing was cleared" in found["problem"]["reason"]
    act(client, made, "apply", reason="because")
    assert "is being cleared" in undo_preview(client, made).get_json()["problem"]["reason"]
    drive(made)
    answer = undo_preview(client, made)
    found = answer.get_json()
    SetUndoPreview.model_validate(found)
    assert [one["dag_id"] for one in found["plans"]] == ["dag_b", "dag_a"]
    numbers = ("task_instances", "put_back", "stay", "dag_runs_total", "whole_dag_runs")
    assert [found[name] for name in numbers] == [12, 12, 0, 4, 4]
    assert (found["complete"], found["problem"]) == (True, None)
    for one in found["plans"]:
        alone = client.get(f"/safe_clear/plans/{one['plan_id']}/undo.json", headers=bearer("admin"))
        assert {**alone.get_json(), **{name: one[name] for name in ("dag_id", "plan_id", "counted")}} == one
    ti = TaskInstance
    began = update(ti).where(ti.dag_id == "dag_a", ti.run_id == "run_1", ti.task_id == "extract")
    session.execute(began.values(state="running", start_date=START))
    session.commit()
    found = undo_preview(client, made, "?dag_id=dag_a").get_json()
    assert (found["put_back"], found["stay"], len(found["plans"])) == (5, 1, 1)
    seen = {one["dag_id"]: one["cleared_runs"] for one in found["plans"]}
    assert act(client, made, "undo", dag_ids=["dag_a"], cleared_runs=seen).status_code == 202
    drive(made)
    found = undo_preview(client, made).get_json()
    assert ([one["dag_id"] for one in found["plans"]], found["problem"]) == (["dag_b"], None)
    found = undo_preview(client, made, "?dag_id=dag_a&dag_id=dag_b").get_json()
    assert "already been undone" in found["problem"]["reason"]
    assert [bool(one["problem"]) for one in found["plans"]] == [False, True]


def test_the_preview_of_an_undo_is_not_for_everybody_nor_of_other_dags(client, auth_manager_name):
    made = make(client)
    act(client, made, "apply", reason="because")
    drive(made)
    assert undo_preview(client, made, user="viewer").status_code == 403
    refused = undo_preview(client, made, "?dag_id=dag_z")
    assert (refused.status_code, refused.get_json()["dags"][0]["dag_id"]) == (422, "dag_z")
    for query in ("?dag_id=", "?run_id=run_1", "?dag_id=%00"):
        assert undo_preview(client, made, query).status_code == 422, query
    assert client.get(f"{SETS}/{'0' * 32}/undo.json", headers=bearer("admin")).status_code == 404
    if auth_manager_name == "fab":
        assert undo_preview(client, made, user="nobody").status_code == 404
        mixed = make(client, dag_ids=["dag_a", "dag_z"])
        assert undo_preview(client, mixed, user="operator").status_code == 403


def test_the_preview_of_an_undo_marks_plans_it_had_no_time_to_count(client, monkeypatch):
    made = make(client)
    act(client, made, "apply", reason="because")
    drive(made)
    monkeypatch.setattr(undo_previews, "shared_preview_budget", lambda: Budget(0))
    found = undo_preview(client, made).get_json()
    SetUndoPreview.model_validate(found)
    assert (found["complete"], found["problem"]) == (False, None)
    assert [one["counted"] for one in found["plans"]] == [False, False]
