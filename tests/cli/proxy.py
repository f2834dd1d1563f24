"""A proxy before the api-server: with TLS, or one that loses and holds requests."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

PASS, DROP, LOSE_ANSWER, TIME_OUT = "pass", "drop", "lose answer", "time out"
"""Forward a request; close the connection without forwarding it, or after that; forward it and answer that
it took too long."""
NOT_FORWARDED = (
    "host",
    "connection",
    "transfer-encoding",
    "content-encoding",
    "content-length",
    "date",
    "server",
)
Decide = Callable[[str, str], "str | tuple[int, dict[str, str], str]"]


class Proxy:
    """Forwards to the api-server whatever ``decide(method, path)`` lets through; it may answer by itself."""

    def __init__(self, url: str, *, decide: Decide | None = None, certificate: Path | None = None) -> None:
        """Listen on a free port; ``certificate`` is a file with key and certificate."""
        parts = urlsplit(url)
        self._upstream = f"{parts.scheme}://{parts.netloc}"
        self._decide = decide or (lambda _method, _path: PASS)
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str] = []
        """What the requests carried to say who sends them."""
        self._http = httpx.Client(trust_env=False, timeout=60)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://localhost:{self._server.server_address[1]}{parts.path}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._http.close()

    def count(self, method: str, end: str) -> int:
        """Return how many requests came for a path with this end."""
        return sum(1 for found, path in self.requests if found == method and path.endswith(end))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy._handle(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        return Handler

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        method, path = request.command, request.path
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.requests.append((method, path.partition("?")[0]))
        if token := request.headers.get("Authorization"):
            self.tokens.append(token)
        decided = self._decide(method, path)
        if isinstance(decided, tuple):
            _answer(request, decided[0], decided[1], decided[2].encode())
            return
        if decided == DROP:
            return
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED
        }
        found = self._http.request(method, f"{self._upstream}{path}", content=body, headers=headers)
        if decided == TIME_OUT:
            _answer(request, 504, {"Content-Type": "text/html"}, b"<h1>504 Gateway Time-out</h1>")
        elif decided != LOSE_ANSWER:
            kept = {n: v for n, v in found.headers.items() if n.lower() not in NOT_FORWARDED}
            _answer(request, found.status_code, kept, found.content)


def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    request.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
