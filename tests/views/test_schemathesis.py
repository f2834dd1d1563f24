"""Requests made from the OpenAPI document: none makes the server fail, each answer is as described."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from safe_clear_plugin.web.api.request_reader import FORM
from tests.support import options
from tests.support.auth import bearer
from tests.support.scenes import store_etl
from tests.views.actions import apply_all, make, undo_all

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
READING = (
    "dags_json",
    "plans_json",
    "plan_json",
    "task_instances",
    "finding_json",
    "progress",
    "undo_preview_json",
    "change_set_json",
    "change_set_progress",
    "failed_json",
    "history_json",
    "change_set_undo_preview_json",
    "waiting_dags_json",
)
WRITING = (
    "create_plan",
    "answers",
    "change_waves",
    "discard",
    "edit",
    "exclude",
    "extend",
    "go_on",
    "pause",
    "plan_waiting_dags",
    "preview",
    "preview_change_set_again",
    "preview_failed",
    "send_again",
    "remaining",
    "apply",
    "stop",
    "request_approval",
    "decline",
    "undo",
    "create_change_set",
    "apply_change_set",
    "stop_change_set",
    "continue_change_set",
    "change_set_waves",
    "request_set_approval",
    "decline_change_set",
    "undo_change_set",
    "plan_waiting_dags",
    "include_waiting",
)
PAGES = (
    "start",
    "failed",
    "tab",
    "select",
    "plans",
    "plan",
    "task_instances_csv",
    "grid",
    "help_page",
    "rows",
    "finding",
    "undo_preview",
    "undo_grid",
    "change_set",
    "change_set_step",
    "change_set_undo_preview",
    "waiting_form",
    "step_apply",
    "step_ask",
    "step_continue",
    "step_decline",
    "step_discard",
    "step_pause",
    "step_rest",
    "step_stop",
    "step_waves",
    "step_webhook",
    "step_widen",
    "step_without",
)
FILES = ("asset", "static", "openapi")


@pytest.fixture
def document(client, session, monkeypatch) -> dict[str, Any]:
    """The document, with plans and DAGs in it that are there."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    store_etl(session)
    ready, applied, stopped, undone = (make(client) for _ in range(4))
    apply_all(client, undone)
    undo_all(client, undone)
    plans = [ready, make(client), undone, stopped, applied]
    sets = [make_set(client) for _ in range(2)]
    found: dict[str, Any] = client.get("/safe_clear/openapi.json", headers=bearer("admin")).get_json()
    for path in found["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                if parameter["name"] == "plan_id":
                    parameter["schema"] = {"enum": [*(plan["id"] for plan in plans), "nope"]}
                elif parameter["name"] == "set_id":
                    parameter["schema"] = {"enum": [of["id"] for of in sets] + ["nope"]}
                elif parameter["name"] == "code":
                    parameter["schema"] = {"enum": ["stale_downstream", "nope"]}
    return found


def make_set(client) -> dict[str, Any]:
    """Plan a clear as a change set of one DAG."""
    wanted = {"dag_ids": ["etl"], "date_from": "2026-01-01"}
    answer = client.post("/safe_clear/change_sets", json=wanted, headers=bearer("admin"))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def operations(document: dict[str, Any], app: Any) -> dict[str, Any]:
    """Return the operations by their id."""
    schema = schemathesis.openapi.from_dict(document)
    schema.app = app
    found = (one.ok() for one in schema.get_all_operations())
    return {one.definition.raw["operationId"]: one for one in found}


def send_examples(cases: Any, checks: list[Any]) -> None:
    """Send requests as they are drawn; each answer must pass the checks."""

    @settings(max_examples=options.examples(6), suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def run(case: Any) -> None:
        # Werkzeug's client takes it for the start of a query.
        assume("?" not in case.formatted_path)
        case.call_and_validate(headers=bearer("admin"), checks=checks)

    run()


def test_what_is_described_is_answered_as_described(app, document, subtests):
    """Bodies name a DAG and dates that are there, so that some of them are carried out."""
    for body in ("SelectionRequest", "AnswersRequest"):
        properties = document["components"]["schemas"][body]["properties"]
        properties["dag_id"] = {"enum": ["etl"]}
        properties["date_from"] = {"enum": ["2026-01-01", "2026-01-02T00:00Z"]}
    properties = document["components"]["schemas"]["ChangeSetRequest"]["properties"]
    properties["dag_ids"] = {"enum": [["etl"], ["etl", "nope"]]}
    properties["date_from"] = {"enum": ["2026-01-01"]}
    found = operations(document, app)
    for name in (*READING, *WRITING, *PAGES):
        with subtests.test(name):
            send_examples(found[name].as_strategy(), CHECKS)


def test_every_operation_is_tried(app, document):
    assert set(operations(document, app)) == {*READING, *WRITING, *PAGES, *FILES}


def test_what_is_not_described_is_refused(app, document, subtests):
    """JSON and queries alone: of a form, empty texts are fields that were left empty."""
    for path in document["paths"].values():
        for one in path.values():
            one.get("requestBody", {"content": {}})["content"].pop(FORM, None)
    found = operations(document, app)
    for name in (*READING, *WRITING):
        with subtests.test(name):
            cases = found[name].as_strategy(GenerationMode.NEGATIVE)
            # The page of a selection that is being made says what cannot be read of it.
            send_examples(cases, CHECKS if name == "answers" else [*CHECKS, negative_data_rejection])
