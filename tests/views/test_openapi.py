"""The OpenAPI document: all routes are in it, and what is answered is as it says."""

from __future__ import annotations

from typing import Any, get_args

import jsonschema
import pytest

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.plans import plan_rows
from safe_clear_plugin.web.api import openapi
from safe_clear_plugin.web.api.answers import SelectionAnswer
from safe_clear_plugin.web.api.bodies import SelectionRequest
from safe_clear_plugin.web.api.form_data import shapes
from safe_clear_plugin.web.api.queries import Sort
from safe_clear_plugin.web.api.routes import ROUTES
from safe_clear_plugin.web.select.form import SelectionForm, form_from_selection
from tests.support.auth import bearer, login
from tests.support.scenes import store_etl
from tests.support.webhook import configure, give_up
from tests.views.actions import apply_all, get, make, post

DOCUMENT = "/safe_clear/openapi.json"


@pytest.fixture
def document(client) -> dict[str, Any]:
    answer = client.get(DOCUMENT, headers=bearer("viewer"))
    assert answer.status_code == 200
    found: dict[str, Any] = answer.get_json()
    return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["operationId"]: one for path in document["paths"].values() for one in path.values()}


def test_every_rule_is_described_and_nothing_else(app, document):
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("SafeClear.")]
    described = set(operations(document))
    views = {rule.endpoint.partition(".")[2] for rule in rules} - {"not_found"}
    assert views == set(ROUTES)
    assert {name if not name.startswith("step_") else "step" for name in described} == views
    steps = [path for path, methods in document["paths"].items() if {"get", "post"} <= set(methods)]
    assert len(steps) == 12 + len(["/plans", "/undo", "/failed", "/include_waiting", "/select"]) + 7 + len(
        ["/change_sets/undo"]
    )
    assert all(path.startswith("/safe_clear/") for path in document["paths"])


def test_whoever_is_logged_in_may_read_it_and_nobody_else(client):
    assert client.get(DOCUMENT).status_code == 401
    login(client, "nobody")
    assert client.get(DOCUMENT).status_code == 200


def test_the_schemas_are_schemas(document):
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    text = str(document)
    names = {one.split("'")[0] for one in text.split("#/components/schemas/")[1:]}
    assert names <= set(schemas)


def test_where_it_is_mounted_is_said(app):
    with app.test_request_context(base_url="http://localhost/air/pluginsv2"):
        from flask import request

        assert openapi.document(request.script_root, "1")["servers"] == [{"url": "/air/pluginsv2"}]


def test_form_and_model_have_the_same_fields_and_choices():
    form = form_from_selection(Selection("etl"))
    assert (
        {field.name for field in form} == set(shapes(SelectionRequest)) == set(SelectionAnswer.model_fields)
    )
    for name, schema in SelectionRequest.model_json_schema()["properties"].items():
        words = schema.get("enum") or schema.get("items", {}).get("enum")
        if words:
            assert [choice[0] for choice in SelectionForm(form.given)[name].iter_choices()] == words, name


def test_the_orders_are_those_of_the_table():
    assert {sort.removeprefix("-") for sort in get_args(Sort)} == set(plan_rows.SORTS)


def check(document: dict[str, Any], name: str, answer: Any) -> None:
    """Hold a JSON answer against its schema."""
    response = operations(document)[name]["responses"][str(answer.status_code)]
    schema = response["content"]["application/json"]["schema"]
    jsonschema.validate(answer.get_json(), {**schema, "components": document["components"]})


@pytest.fixture(autouse=True)
def dag(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    return store_etl(session)


def test_the_answers_in_the_life_of_a_plan_are_as_described(client, document):
    wanted = {"dag_id": "etl", "task_regex": "^transform$", "date_from": "2026-01-01"}
    made = client.post("/safe_clear/plans", json=wanted, headers=bearer("admin"))
    check(document, "create_plan", made)
    plan = made.get_json()
    for rest, name in (
        (".json", "plan_json"),
        ("/task_instances.json", "task_instances"),
        ("/progress.json", "progress"),
        ("/findings/stale_downstream.json", "finding_json"),
        ("/findings/nothing.json", "finding_json"),
        ("/undo.json", "undo_preview_json"),
    ):
        check(document, name, get(client, plan, rest))
    check(document, "extend", post(client, plan, "widen", field="include_downstream"))
    check(document, "exclude", post(client, plan, "without", run=["run_1"]))
    check(document, "apply", post(client, plan, "apply", acknowledge=["x"], fingerprint="0"))
    check(document, "apply", post(client, plan, "apply", reason=""))
    check(document, "apply", post(client, plan, "apply"))
    check(document, "progress", get(client, plan, "/progress.json"))
    check(document, "stop", post(client, plan, "stop"))
    check(document, "plan_json", get(client, plan))
    check(document, "remaining", post(client, plan, "rest"))
    check(document, "undo_preview_json", get(client, plan, "/undo.json"))
    check(document, "undo", post(client, plan, "undo", reason="wrong day"))
    check(document, "progress", get(client, plan, "/progress.json"))
    check(document, "plan_json", get(client, plan))
    for address, name in (("/safe_clear/plans.json", "plans_json"), ("/safe_clear/dags.json", "dags_json")):
        check(document, name, client.get(address, headers=bearer("admin")))


def test_the_answers_of_an_approval_are_as_described(client, document, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "1")
    plan = make(client)
    check(document, "plan_json", get(client, plan))
    check(document, "apply", post(client, plan, "apply"))
    check(document, "request_approval", post(client, plan, "ask"))
    check(document, "request_approval", post(client, plan, "ask", reason="bad rates"))
    check(document, "decline", post(client, plan, "decline", user="operator", reason="no"))
    check(document, "plan_json", get(client, plan))


def test_the_answers_about_a_webhook_that_failed_are_as_described(client, document, session, monkeypatch):
    configure(monkeypatch, "https://hooks.example")
    plan = make(client)
    post(client, plan, "apply")
    check(document, "send_again", post(client, plan, "webhook"))
    give_up(session)
    check(document, "plan_json", get(client, plan))
    check(document, "plans_json", client.get("/safe_clear/plans.json", headers=bearer("admin")))
    check(document, "send_again", post(client, plan, "webhook"))


def test_the_dag_runs_of_a_plan_are_paged(client):
    plan = make(client)
    assert [run["run_id"] for run in plan["dag_runs"]] == ["run_1", "run_2", "run_3"]
    page = get(client, plan, ".json?offset=1&limit=1").get_json()
    assert [run["run_id"] for run in page["dag_runs"]] == ["run_2"]
    assert page["counts"]["dag_runs"] == 3
    assert get(client, plan, ".json?offset=3").get_json()["dag_runs"] == []
    apply_all(client, plan)
    assert len(get(client, plan, ".json?limit=2").get_json()["batches"]) == 3
    for query in ("?limit=0", "?limit=1001", "?offset=-1", "?offset=", "?page=2", "?limit=1&limit=2"):
        assert get(client, plan, f".json{query}").status_code == 422
