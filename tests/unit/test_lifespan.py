"""What starts and ends with the api-server: seen from a middleware, as Airflow puts those of plugins."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from safe_clear_plugin.airflow_api.driver_middleware import LifespanMiddleware
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.plugin import SafeClearPlugin


class Running:
    def __init__(self, events):
        self.events = events
        self.events.append("start")

    def stop(self):
        self.events.append("stop")


def application(start):
    app = FastAPI()
    app.add_middleware(LifespanMiddleware, start=start)

    @app.get("/")
    def root() -> str:
        return "here"

    return app


def test_it_starts_with_the_server_and_stops_with_it():
    events = []
    with TestClient(application(lambda: Running(events))) as client:
        assert events == ["start"]
        assert client.get("/").json() == "here"
    assert events == ["start", "stop"]


def test_without_a_lifespan_nothing_starts():
    """As in Airflow's own command line and tests, which make the application and serve nothing."""
    events = []
    client = TestClient(application(lambda: Running(events)))
    assert client.get("/").json() == "here"
    assert events == []


def test_one_that_is_not_wanted_does_not_start():
    with TestClient(application(lambda: None)) as client:
        assert client.get("/").json() == "here"


@pytest.mark.parametrize("error", [ImportError("moved"), Refused(503, Problem("unreadable", "correct it"))])
def test_airflow_serves_without_it(error, caplog):
    def fails():
        raise error

    with caplog.at_level(logging.ERROR), TestClient(application(fails)) as client:
        assert client.get("/").json() == "here"
    assert "did not start" in caplog.text


def test_the_plugin_has_it():
    found = [one["middleware"] for one in SafeClearPlugin.fastapi_root_middlewares]
    assert LifespanMiddleware in found


SERVER = """
import sys, time
from pathlib import Path
import uvicorn
from fastapi import FastAPI
from safe_clear_plugin.airflow_api.driver_middleware import LifespanMiddleware

class Running:
    def stop(self):
        time.sleep(0.3)
        Path(sys.argv[1]).write_text("stopped")

app = FastAPI()
app.add_middleware(LifespanMiddleware, start=lambda: print("started", flush=True) or Running())
uvicorn.run(app, port=0, log_level="error")
"""


def test_a_server_that_a_signal_ends_waits_until_it_has_stopped(tmp_path):
    """Uvicorn ends its process by the same signal as soon as it has been told that all is shut down."""
    marker = tmp_path / "marker"
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(marker)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "started\n"
        server.terminate()
        server.wait(30)
    finally:
        server.kill()
        server.communicate()
    assert marker.read_text() == "stopped"
