"""Plans made and confirmed through the JSON API of a running server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from tests.support.server import AirflowServer

PAGES = "/pluginsv2/safe_clear"
LONGEST = 300


def make_plan(server: AirflowServer, **selection: Any) -> dict[str, Any]:
    """Preview a clear."""
    answer = server.api("POST", f"{PAGES}/plans", json=selection)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def apply(server: AirflowServer, plan: dict[str, Any], user: str = "admin", **more: Any) -> httpx.Response:
    """Have it cleared, having ticked all that the plan asks for."""
    ticked = [finding["code"] for finding in plan["findings"] if finding["level"] == "acknowledge"]
    body = {"fingerprint": plan["fingerprint"], "reason": "on purpose", "acknowledge": ticked, **more}
    return server.api("POST", f"{PAGES}/plans/{plan['id']}/apply", user=user, json=body)


def apply_to_the_end(server: AirflowServer, plan: dict[str, Any], user: str = "admin") -> httpx.Response:
    """Have it cleared to the end, and ask again until it is; return the answer to the last request."""
    answer = apply(server, plan, user)
    end = time.monotonic() + LONGEST
    while answer.status_code == 202:
        assert time.monotonic() < end, f"not applied within {LONGEST} s"
        time.sleep(0.1)
        answer = apply(server, plan, user)
    return answer


def progress(server: AirflowServer, plan: dict[str, Any]) -> dict[str, Any]:
    """Return how far clear and undo are."""
    answer = server.api("GET", f"{PAGES}/plans/{plan['id']}/progress.json")
    return dict(answer.raise_for_status().json())


def undo_to_the_end(server: AirflowServer, plan: dict[str, Any], **body: Any) -> dict[str, Any]:
    """Have it undone to the end; return how far the undo is then."""
    server.api("POST", f"{PAGES}/plans/{plan['id']}/undo", json=body).raise_for_status()
    end = time.monotonic() + LONGEST
    while (found := progress(server, plan)["undo"])["under_way"]:
        assert time.monotonic() < end, f"not undone within {LONGEST} s"
        time.sleep(0.1)
    return dict(found)
