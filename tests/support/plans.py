"""Plans made and confirmed through the JSON API of a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from tests.support.server import AirflowServer

PAGES = "/pluginsv2/safe_clear"


def make_plan(server: AirflowServer, **selection: Any) -> dict[str, Any]:
    """Preview a clear."""
    answer = server.api("POST", f"{PAGES}/plans", json=selection)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def apply(server: AirflowServer, plan: dict[str, Any], user: str = "admin", **more: Any) -> httpx.Response:
    """Clear the next batch, having ticked all that the plan asks for."""
    ticked = [finding["code"] for finding in plan["findings"] if finding["level"] == "acknowledge"]
    body = {"fingerprint": plan["fingerprint"], "reason": "on purpose", "acknowledge": ticked, **more}
    return server.api("POST", f"{PAGES}/plans/{plan['id']}/apply", user=user, json=body)


def apply_to_the_end(server: AirflowServer, plan: dict[str, Any], user: str = "admin") -> httpx.Response:
    """Clear batch after batch; return the answer to the last request."""
    answer = apply(server, plan, user)
    while answer.status_code == 200 and answer.json()["status"] == "applying":
        answer = apply(server, plan, user)
    return answer
