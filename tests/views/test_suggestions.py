"""A selection that matches nothing is answered with another one: a button on the page, fields in JSON."""

from __future__ import annotations

import re
from html import unescape

import pytest

from safe_clear_plugin.web.api.refusal_answers import Refusal
from tests.support.auth import bearer, login
from tests.support.scenes import store_etl

pytestmark = pytest.mark.airflow32

BODY = {"dag_id": "etl", "task_regex": "^(transform|load)$", "date_from": "2026-01-01", "state": ["queued"]}


@pytest.fixture
def dag(session):
    return store_etl(session)


def test_a_program_gets_the_fields_to_change(client, dag):
    response = client.post("/safe_clear/plans", json=BODY, headers=bearer("admin"))
    assert response.status_code == 422
    answer = response.get_json()
    Refusal.model_validate(answer)
    assert answer["error"].startswith("`state`: These 3 runs have no Queued task instance")
    [suggestion] = answer["suggestions"]
    assert suggestion == {
        "text": "Preview Failed and Upstream Failed too",
        "changes": {"state": ["queued", "failed", "upstream_failed"]},
    }
    body = {**BODY, **suggestion["changes"]}
    again = client.post("/safe_clear/plans", json=body, headers=bearer("admin"))
    assert (again.status_code, again.get_json()["task_instances"]) == (201, 6)


def test_a_page_has_a_button_that_previews_it(client, dag):
    login(client, "admin")
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/safe_clear/select").text)[1]
    page = client.post("/safe_clear/plans", data={**BODY, "csrf_token": token, "date_to": ""})
    assert page.status_code == 422
    form = re.search(r'<form class="actions".*?</form>', page.text, re.DOTALL)[0]
    assert "<span>Preview Failed and Upstream Failed too</span>" in form
    sent: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form):
        sent.setdefault(name, []).append(unescape(value))
    assert sent["state"] == ["queued", "failed", "upstream_failed"]
    made = client.post("/safe_clear/plans", data=sent)
    assert made.status_code == 303
    assert "6 task instances" in client.get(made.location).text


def test_a_refusal_without_another_selection_has_no_button(client, dag):
    login(client, "admin")
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/safe_clear/select").text)[1]
    body = {**BODY, "task_regex": "^nothing$", "csrf_token": token}
    page = client.post("/safe_clear/plans", data=body)
    assert page.status_code == 422
    assert '<form class="actions"' not in page.text
    answer = client.post(
        "/safe_clear/plans", json={**BODY, "task_regex": "^nothing$"}, headers=bearer("admin")
    )
    assert "suggestions" not in answer.get_json()
