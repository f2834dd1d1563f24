"""Airflow's whole ASGI application in one of its auth modes, and the callers that it has."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from airflow.api_fastapi import app as airflow_app
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from starlette.testclient import TestClient

from tests.support.driving import drive

if TYPE_CHECKING:
    from fastapi import FastAPI
    from httpx import Response

HOST = "http://testserver"
ELSEWHERE = "https://evil.example"
PAGES = "/pluginsv2/safe_clear"
# What browsers send when a person opens a page, follows a link or presses a button.
NAVIGATION = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SELECTION = {"dag_id": "etl", "run_id": ["run_1"], "task_regex": "^transform$"}


@contextmanager
def served(options: Mapping[str, str]) -> Iterator[FastAPI]:
    """Build the application as the api-server does, configured by ``options``, and put back what was there.

    Airflow reads these options when the application is made, so that one process can serve one mode after
    the other; what it reads at its import only, such as ``[api] base_url``, it cannot.
    """
    before = airflow_app._AuthManagerState.instance
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.items():
            patch.setenv(name, value)
        airflow_app.purge_cached_app()
        try:
            with warnings.catch_warnings():
                # Plugins of this kind, and the bridge that serves them, are deprecated.
                warnings.simplefilter("ignore", DeprecationWarning)
                made = airflow_app.create_app()
            yield made
        finally:
            airflow_app.purge_cached_app()
            airflow_app._AuthManagerState.instance = before


class Caller:
    """Somebody who sends requests to the application."""

    def __init__(self, app: FastAPI, headers: Mapping[str, str] | None = None) -> None:
        """Begin without cookies."""
        self.client = TestClient(app, base_url=HOST, follow_redirects=False, headers=headers)
        self.prefix = ""

    def get(self, path: str, **options: Any) -> Response:
        """Read one of Safe Clear's addresses."""
        return self.send("GET", path, **options)

    def post(self, path: str, **options: Any) -> Response:
        """Send a change."""
        return self.send("POST", path, **options)

    def send(self, method: str, path: str, **options: Any) -> Response:
        """Send a request to an address of Safe Clear's."""
        return self.client.request(method, f"{self.prefix}{PAGES}{path}", **options)

    def airflow(self, path: str = "/api/v2/dags", **options: Any) -> int:
        """Return the status with which Airflow's own API answers."""
        return self.client.get(f"{self.prefix}{path}", **options).status_code


class Program(Caller):
    """A program: a bearer token, unless Airflow asks for none, and JSON."""

    def __init__(self, app: FastAPI, token: str | None) -> None:
        """Take a token of Airflow's."""
        super().__init__(app, {"Authorization": f"Bearer {token}"} if token else None)

    def plan(self, **body: Any) -> dict[str, Any]:
        """Plan a clear."""
        answer = self.post("/plans", json={**SELECTION, **body})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def apply(self, plan: Mapping[str, Any]) -> Response:
        """Carry a plan out."""
        ticked = [found["code"] for found in plan["findings"] if found["level"] == "acknowledge"]
        body = {"fingerprint": plan["fingerprint"], "acknowledge": ticked}
        answer = self.post(f"/plans/{plan['id']}/apply", json=body)
        if answer.status_code == 202:
            drive(plan["id"])
            answer = self.post(f"/plans/{plan['id']}/apply", json=body)
        return answer


class Browser(Caller):
    """A browser: a cookie, if anybody has logged in, and what it says of the page that a request is from."""

    def __init__(self, app: FastAPI, token: str | None = None) -> None:
        """Take the cookie of a login."""
        super().__init__(app, {"Accept": NAVIGATION})
        if token:
            # As the login does, so that a cookie of Airflow's takes its place.
            self.client.cookies.set(COOKIE_NAME_JWT_TOKEN, token, domain="testserver.local", path="/")

    def press(self, path: str, *, csrf_token: str | None = None, **fields: Any) -> Response:
        """Send a form of one of our own pages."""
        token = self.csrf_token() if csrf_token is None else csrf_token
        headers = {"Origin": HOST, "Sec-Fetch-Site": "same-origin"}
        return self.post(path, data={**fields, "csrf_token": token}, headers=headers)

    def csrf_token(self) -> str:
        """Return the token that a page carries."""
        found = re.search(r'name="csrf_token" value="([^"]*)"', self.get("/?dag_id=etl").text)
        assert found, "the page has no form"
        return found[1]


def token(user: Any) -> str:
    """Return the JWT that a login gives."""
    return str(get_auth_manager().generate_jwt(user))


FROM_ELSEWHERE = {
    "a form": {"data": SELECTION},
    "a form of text": {
        "content": '{"dag_id": "etl", "run_id": "run_1"}',
        "headers": {"Content-Type": "text/plain"},
    },
    "a form with a file": {"data": SELECTION, "files": {"file": b""}},
    "a script that sends no type": {"content": '{"dag_id": "etl", "run_id": "run_1"}'},
    "a script that accepts JSON": {"data": SELECTION, "headers": {"Accept": "application/json"}},
    "a script that sends JSON": {"json": SELECTION},
    "an address with a query": {"params": SELECTION},
}
"""What a page of another site may try to have a browser send."""

ORIGINS = {
    "another site": {"Origin": ELSEWHERE, "Sec-Fetch-Site": "cross-site"},
    "another host of the site": {"Origin": "http://other.testserver", "Sec-Fetch-Site": "same-site"},
    "another site, in an old browser": {"Origin": ELSEWHERE},
    "a sandboxed page": {"Origin": "null"},
    "the site without TLS": {"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"},
    "a browser that says nothing": {},
}
