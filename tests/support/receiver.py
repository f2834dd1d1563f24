"""A real HTTP server that a webhook tells something: it answers, fails, hangs, drips, closes or redirects."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler, "Receiver"], None]
PATIENCE = 30


@dataclass(frozen=True)
class Received:
    """A request that arrived whole."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class Receiver:
    """What it got, and how it is to behave: ``next`` for the next requests, then ``always``."""

    def __init__(self) -> None:
        """Answer each request with 200."""
        self.received: list[Received] = []
        self.always: Behaviour = answer(200)
        self.next: deque[Behaviour] = deque()
        self.release = threading.Event()
        """Set to end what hangs."""
        self.arrived = threading.Event()
        """Set once a request has arrived."""
        self.url = ""

    @property
    def told(self) -> list[tuple[int, str]]:
        """Number and event of each message, in the order of arrival."""
        return [(one.json["number"], one.json["event"]) for one in self.received]

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Keep a request, then behave."""
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.received.append(Received(handler.path, headers, body))
        self.arrived.set()
        behave = self.next.popleft() if self.next else self.always
        behave(handler, self)


@contextmanager
def receiving(certificate: Path | None = None) -> Iterator[Receiver]:
    """Start a server on a free port, for as long as the context lasts; with a certificate by HTTPS."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.handle(self)

        def do_GET(self) -> None:
            receiver.handle(self)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    receiver.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.release.set()
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def self_signed(folder: Path) -> Path:
    """Return a file with a key, and a certificate of 127.0.0.1 that nobody vouches for."""
    found = folder / "self-signed.pem"
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem"))
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run([*command, *files, *names], check=True, capture_output=True, timeout=60)
    found.write_text((folder / "key.pem").read_text() + (folder / "certificate.pem").read_text())
    return found


def answer(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer with a status."""

    def behave(handler: BaseHTTPRequestHandler, receiver: Receiver) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def answer_late(status: int = 200) -> Behaviour:
    """Answer once the test says so, if anybody still listens."""

    def behave(handler: BaseHTTPRequestHandler, receiver: Receiver) -> None:
        receiver.release.wait(PATIENCE)
        try:
            answer(status)(handler, receiver)
        except OSError:
            handler.close_connection = True

    return behave


def drip(handler: BaseHTTPRequestHandler, receiver: Receiver) -> None:
    """Send a header without end, a little at a time, so that no single read takes long."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        while not receiver.release.wait(0.1):
            handler.wfile.write(b"a")
    except OSError:
        pass
    handler.close_connection = True


def flood(handler: BaseHTTPRequestHandler, receiver: Receiver) -> None:
    """Answer with a body without end, and note how much of it was taken."""
    handler.send_response(200)
    handler.end_headers()
    taken = 0
    try:
        while taken < 512 * 1024**2 and not receiver.release.is_set():
            taken += handler.wfile.write(b"a" * 65536)
    except OSError:
        pass
    receiver.flooded = taken  # type: ignore[attr-defined]
    handler.close_connection = True


def close(handler: BaseHTTPRequestHandler, receiver: Receiver) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True
