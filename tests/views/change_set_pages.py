"""Helpers for the tests of change sets in the views: Dags with failures, ticks, and the pages after them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from safe_clear_plugin.services.change_sets.stored import get_change_set
from tests.support.auth import bearer
from tests.support.driving import drive
from tests.support.factories import make_run, set_states
from tests.support.scenes import store_etl
from tests.views.actions import forms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from safe_clear_plugin.core.change_set import ChangeSet

NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)
FAILED = {"transform": "failed", "load": "upstream_failed"}
SETS = "/safe_clear/change_sets"


def fail(
    session: Session,
    *dag_ids: str,
    states: dict[str, str] = FAILED,
    run_ids: Sequence[str] = ("run_0",),
    **options: Any,
) -> None:
    """Store DAGs, each with runs in which something failed an hour ago."""
    for dag_id in dag_ids:
        dag = store_etl(session, dag_id, runs=0, **options)
        for run_id in run_ids:
            run = make_run(dag, session=session, run_id=run_id, task_state="success", state="failed")
            set_states(run, states, session=session, end_date=NOW - HOUR)


def tick(client: FlaskClient, page: str, *dag_ids: str) -> TestResponse:
    """Tick Dags of the start page, and preview them, as a browser without JavaScript does."""
    (form,) = [form for form in forms(page) if form["id"] == "preview"]
    return client.post(form["action"], data={**dict(form["fields"]), "dag_ids": list(dag_ids)})


def make_set(client: FlaskClient, *dag_ids: str, user: str = "admin", **body: Any) -> dict[str, Any]:
    """Make a change set of the failures of the last day in some Dags."""
    window = {"failed_from": (NOW - 24 * HOUR).isoformat(), "failed_to": (NOW + HOUR).isoformat()}
    answer = client.post(SETS, json={"dag_ids": list(dag_ids), **window, **body}, headers=bearer(user))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.get_json()
    return made


def boxes_of(made: dict[str, Any]) -> list[list[str]]:
    """Return the findings to acknowledge."""
    return [[one["dag_id"], one["code"]] for one in made["findings"] if one["level"] == "acknowledge"]


def apply_set(client: FlaskClient, made: dict[str, Any], user: str = "admin", **body: Any) -> TestResponse:
    """Confirm a set as a program does."""
    body = {"fingerprint": made["fingerprint"], "acknowledge": boxes_of(made), **body}
    return client.post(f"{SETS}/{made['id']}/apply", json=body, headers=bearer(user))


def drive_set(set_id: str) -> ChangeSet:
    """Let the driver clear, or undo, the set to its end."""
    found = get_change_set(set_id)
    for _ in range(3 * len(found.plans)):
        order = reversed(found.plans) if found.is_undoing else found.plans
        for plan in order:
            if plan.is_undoing or plan.status == "applying":
                drive(plan.id)
        found = get_change_set(set_id)
        if not (found.is_applying or found.is_undoing):
            return found
    raise AssertionError("the set does not end")


def acknowledge(page: str) -> list[str]:
    """Return the values that the boxes of the page send."""
    import html
    import re

    values = re.findall(r'name="acknowledge" value="([^"]*)"', page)
    found = [html.unescape(value) for value in values]
    assert all(len(json.loads(value)) == 2 for value in found)
    return found
