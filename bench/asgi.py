"""Requests to an ASGI app in this process that cost no more than the app itself.

A test client keeps a copy or two of the response, which at 100 MB would be counted as the app's memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

KEPT = 2_000
"""Bytes of the end of a response that are kept when the whole is not wanted."""


@dataclass
class Answer:
    """A response: its size and its end, or all of it."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    size: int = 0
    body: bytes = b""


class Client:
    """Sends requests one after the other, in an event loop that stays."""

    def __init__(self, app: Any, headers: Mapping[str, str]) -> None:
        """Send ``headers`` with every request."""
        self.app = app
        self.headers = dict(headers)
        self.loop = asyncio.new_event_loop()

    def send(
        self,
        method: str,
        address: str,
        body: bytes = b"",
        *,
        content_type: str = "application/json",
        whole: bool = False,
    ) -> Answer:
        """Send a request; an error status raises."""
        headers = {**self.headers, "host": "localhost:8080", "content-length": str(len(body))}
        if body:
            headers["content-type"] = content_type
        answer = self.loop.run_until_complete(self._send(_scope(method, address, headers), body, whole))
        if answer.status >= 400:
            raise RuntimeError(f"{method} {address}: {answer.status} {answer.body[:KEPT]!r}")
        return answer

    async def _send(self, scope: dict[str, Any], body: bytes, whole: bool) -> Answer:
        answer, sent = Answer(), [False]
        over = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if sent[0]:
                await over.wait()
                return {"type": "http.disconnect"}
            sent[0] = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                return
            chunk = bytes(message.get("body", b""))
            answer.size += len(chunk)
            answer.body = answer.body + chunk if whole else (answer.body + chunk[-KEPT:])[-KEPT:]
            if not message.get("more_body"):
                over.set()

        await self.app(scope, receive, send)
        return answer


def _scope(method: str, address: str, headers: Mapping[str, str]) -> dict[str, Any]:
    parts = urlsplit(address)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("localhost", 8080),
        "state": {},
    }
