"""What the view tests do with plans: as a program with a token, or as a person who presses buttons."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

from safe_clear_plugin.services.plans import get_plan
from tests.support.auth import bearer
from tests.support.driving import drive, drive_once

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

FORM = re.compile(r"<form (?P<head>[^>]*)>(?P<body>.*?)</form>", re.DOTALL)
INPUT = re.compile(r"<input ([^>]*)>")
ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


def words(page: str) -> str:
    """Return the text of a page, or of a part of it, on one line."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def make(client: FlaskClient, user: str = "admin", **body: Any) -> dict[str, Any]:
    """Plan to clear ``transform`` and what is downstream of it; a field of ``None`` is left out."""
    body = {"dag_id": "etl", "task_regex": "^transform$", "include_downstream": True, **body}
    body = {name: value for name, value in body.items() if value is not None}
    if "date_from" not in body and "run_id" not in body:
        body.update(date_from="2026-01-01", date_to="2026-01-31")
    response = client.post("/safe_clear/plans", json=body, headers=bearer(user))
    assert response.status_code == 201, response.text
    plan: dict[str, Any] = response.get_json()
    return plan


def path(plan: dict[str, Any], rest: str = "") -> str:
    """Return the address of the plan's page, or of something below it."""
    return f"/safe_clear/plans/{plan['id']}{rest}"


def get(client: FlaskClient, plan: dict[str, Any], rest: str = ".json", user: str = "admin") -> TestResponse:
    """Read something of the plan."""
    return client.get(path(plan, rest), headers=bearer(user))


def post(
    client: FlaskClient, plan: dict[str, Any], what: str, user: str = "admin", **body: Any
) -> TestResponse:
    """Send a change as JSON; ``apply`` carries the plan's fingerprint, and ticks what is to be ticked.

    A driver does one batch of what that begins; the answer is from before.
    """
    if what == "apply":
        body = {"fingerprint": plan["fingerprint"], "acknowledge": to_tick(plan), **body}
    answer = client.post(path(plan, f"/{what}"), json=body, headers=bearer(user))
    if answer.status_code == 202:
        drive_once(plan["id"])
    return answer


def step(
    client: FlaskClient, plan: dict[str, Any], what: str = "apply", user: str = "admin", **body: Any
) -> dict[str, Any]:
    """Have the plan cleared, or undone, one batch of it; return how far it is then."""
    answer = post(client, plan, what, user, **body)
    assert answer.status_code in (200, 202), answer.text
    return progress(client, plan, what)


def progress(client: FlaskClient, plan: dict[str, Any], what: str = "apply") -> dict[str, Any]:
    """Return how far the clear, or the undo, is."""
    found: dict[str, Any] = get(client, plan, "/progress.json").get_json()
    return found["undo"] if what == "undo" else found


def undo_all(client: FlaskClient, plan: dict[str, Any], user: str = "admin", **body: Any) -> dict[str, Any]:
    """Have the plan undone to the end; return how far it is then."""
    answer = post(client, plan, "undo", user, **body)
    assert answer.status_code == 202, answer.text
    drive(plan["id"])
    return progress(client, plan, "undo")


def to_tick(plan: dict[str, Any]) -> list[str]:
    """Return the codes of the findings that whoever confirms the plan acknowledges."""
    return [finding["code"] for finding in plan["findings"] if finding["level"] == "acknowledge"]


def apply_all(client: FlaskClient, plan: dict[str, Any], **body: Any) -> int:
    """Have the plan cleared to the end, and return how many batches that took."""
    before = get_plan(plan["id"]).batches
    response = post(client, plan, "apply", **body)
    assert response.status_code == 202, response.text
    after = drive(plan["id"])
    assert (after.status, after.stop_reason) == ("applied", None)
    return after.batches - before


def forms(page: str) -> list[dict[str, Any]]:
    """Return the page's forms that POST: their action, their fields and the text on their button."""
    found = []
    for form in FORM.finditer(page):
        head = dict(ATTRIBUTE.findall(form["head"]))
        if head.get("method") != "post":
            continue
        inputs = [dict(ATTRIBUTE.findall(one)) for one in INPUT.findall(form["body"])]
        found.append(
            {
                "action": html.unescape(head["action"]),
                "id": head.get("id"),
                "fields": [(one["name"], html.unescape(one["value"])) for one in inputs],
                "text": re.sub(r"<[^>]+>", "", form["body"]).strip(),
            }
        )
    return found


def press(client: FlaskClient, page: str, button: str, **more: str | list[str]) -> TestResponse:
    """Send the form of the button with all boxes ticked, as a browser without JavaScript does.

    A driver does one batch of what that begins.
    """
    found = forms(page)
    wanted = [form for form in found if form["id"] == button] or [
        form for form in found if button in form["text"]
    ]
    assert len(wanted) == 1, (button, [form["text"] for form in found])
    data: dict[str, list[str]] = {}
    for name, value in wanted[0]["fields"]:
        data.setdefault(name, []).append(value)
    if wanted[0]["id"] == "confirm" and "acknowledge" not in more:
        data["acknowledge"] = boxes(page)
    answer = client.post(wanted[0]["action"], data={**data, **more})
    begun = re.search(r"/plans/([0-9a-f]{32})/(apply|undo)$", wanted[0]["action"])
    if begun and answer.status_code == 303:
        drive_once(begun[1])
    return answer


def boxes(page: str) -> list[str]:
    """Return the codes of the findings that the page has a box to tick for."""
    inputs = [dict(ATTRIBUTE.findall(one)) for one in INPUT.findall(page)]
    return [one["value"] for one in inputs if one.get("name") == "acknowledge"]


def press_and_follow(client: FlaskClient, page: str, button: str, **more: str | list[str]) -> str:
    """Send the form of the button and return the page that comes of it."""
    answer = press(client, page, button, **more)
    assert answer.status_code == 303, answer.text
    return client.get(answer.location).text


def title(page: str) -> str:
    """Return the text of the page's heading."""
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)
    assert found
    return html.unescape(re.sub(r"<[^>]+>", "", found[1])).strip()
