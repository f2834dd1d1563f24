"""A real Airflow: api-server, scheduler, dag processor and triggerer as processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.support import environment
from tests.support.processes import stop_groups, stop_with_parent

if TYPE_CHECKING:
    from playwright.sync_api import Page

REPOSITORY = Path(__file__).parents[2]
BEHIND_THE_API = ("scheduler", "dag-processor", "triggerer")
COMMANDS = {"celery worker": ("celery", "worker", "--concurrency", "2", "--without-mingle")}
"""Of components whose command is more than their name."""
PREPARE = "tests.support.prepare_server"
START_TIMEOUT = 240
USERS = ("admin", "operator", "viewer", "nobody")
POLL_INTERVAL = 0.5


class AirflowServer:
    """Airflow on a free port, with the users of ``tests.support.auth``; a password is the user's name.

    ``prefix`` (such as ``/af``) is the path below which Airflow is served, as behind a reverse proxy.
    ``dags`` is copied, so that a test may change a DAG file in ``dags_folder``, unless the folder is given.
    """

    def __init__(
        self,
        sqlalchemy_url: str,
        dags: Path,
        *,
        dags_folder: Path | None = None,
        prefix: str = "",
        auth: str = "fab",
        **settings: str,
    ) -> None:
        """Lay out its files; nothing is started yet. ``settings`` are more environment variables."""
        self.sqlalchemy_url = sqlalchemy_url
        self.prefix = prefix
        self.home = Path(tempfile.mkdtemp(prefix="safe-clear-server-"))
        self.dags_folder = dags_folder or self.home / "dags"
        self.logs = self.home / "server-logs"
        self.port = free_port()
        self.url = f"http://localhost:{self.port}{prefix}"
        self.environment = {
            **environment.without_airflow_settings(dict(os.environ)),
            **environment.airflow_environment(self.home, sqlalchemy_url, auth),
            **self._server_settings(),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            **settings,
        }
        if not dags_folder:
            shutil.copytree(dags, self.dags_folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.logs.mkdir()
        (self.home / "passwords.json").write_text(json.dumps({user: user for user in USERS}))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._tokens: dict[str, str] = {}

    def _server_settings(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(REPOSITORY),
            # LocalExecutor and the web server start `airflow` and `python` by name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2",
            # Parsing again and again would take the tests' share of the machine; `parse` asks for it.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
            "AIRFLOW__FAB__AUTH_RATE_LIMITED": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            # On a busy machine a task must not fail for the slowness of the server.
            "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": "3600",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "1200",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        }

    def prepare(self, module: str = PREPARE, *arguments: str) -> None:
        """Make the metadata database by running ``module``; for a database that is not made yet."""
        self.run("-m", module, *arguments)

    def start(self, components: tuple[str, ...] = BEHIND_THE_API, dag_ids: tuple[str, ...] = ()) -> None:
        """Start the api-server and ``components``; returns when all is healthy and the DAGs are there.

        ``scheduler 2`` is a second scheduler.
        """
        self.launch(components)
        self.wait_until_up(components, dag_ids)

    def launch(self, components: tuple[str, ...] = BEHIND_THE_API) -> None:
        """Begin to start the api-server and ``components``.

        They end with the thread that calls this, so it is to be one that lasts.
        """
        for component in ("api-server", *components):
            self._start_component(component)

    def wait_until_up(
        self, components: tuple[str, ...] = BEHIND_THE_API, dag_ids: tuple[str, ...] = ()
    ) -> None:
        """Wait until all that was launched is healthy and the DAGs are there."""
        self.wait_until(lambda: self._is_healthy(components), "every component is healthy", START_TIMEOUT)
        self.wait_until(lambda: all(map(self._has_dag, dag_ids)), f"{dag_ids} are parsed", START_TIMEOUT)

    def add(self, component: str) -> None:
        """Start one more component; returns when it is healthy."""
        self._start_component(component)
        self.wait_until_up((component,))

    def stop(self) -> None:
        """Stop every component and remove everything but the database."""
        # An api-server waits for its clients' connections, and no client is left. A scheduler ends its tasks.
        if api_server := self._processes.pop("api-server", None):
            stop_groups([api_server], by_force=True)
        stop_groups(self._processes.values())
        self._processes.clear()
        shutil.rmtree(self.home, ignore_errors=True)

    def kill(self, component: str) -> None:
        """Kill a component and its workers with SIGKILL, as the kernel does when memory is short."""
        stop_groups([self._processes.pop(component)], by_force=True)

    def pid(self, component: str) -> int:
        """Return the id of a component's first process."""
        return self._processes[component].pid

    def keep_logs(self, target: Path) -> None:
        """Copy the logs of the components and of the tasks to ``target``."""
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.logs, target / "components")
        if (self.home / "logs").exists():
            shutil.copytree(self.home / "logs", target / "tasks", ignore=shutil.ignore_patterns("latest"))

    def run(self, *arguments: str) -> str:
        """Run Python with ``arguments`` in the server's environment and return what it printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{arguments} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def token(self, user: str) -> str:
        """Log in as ``user`` through the API and return the JWT."""
        if user not in self._tokens:
            answer = self._http("POST", "/auth/token", json={"username": user, "password": user})
            self._tokens[user] = answer.raise_for_status().json()["access_token"]
        return self._tokens[user]

    def api(self, method: str, path: str, *, user: str = "admin", **request: Any) -> httpx.Response:
        """Send a request below the server's URL as ``user``; an error status is for the caller to judge."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        return self._http(method, path, headers=headers, **request)

    def login(self, page: Page, user: str) -> None:
        """Log ``user`` in through Airflow's login page, as a person does."""
        page.goto(f"{self.url}/auth/login/")
        page.locator("input[name=username]").fill(user)
        page.locator("input[name=password]").fill(user)
        page.locator("input[name=password]").press("Enter")
        page.wait_for_url(lambda url: "/auth/login" not in url)

    def wait_until(self, condition: Callable[[], bool], meaning: str, timeout: float = 180) -> None:
        """Wait until ``condition`` holds; a component that died ends the wait with its log."""
        deadline = time.monotonic() + timeout
        while not condition():
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}:\n{self._log_tail(name)}")
            if time.monotonic() > deadline:
                last = "\n".join(self._log_tail(name) for name in self._processes)
                raise TimeoutError(f"not within {timeout} s: {meaning}\n{last}")
            time.sleep(POLL_INTERVAL)

    def parse(self, dag_id: str) -> None:
        """Have the dag processor parse the file of ``dag_id`` at once, after a test rewrote it."""
        token = self.api("GET", f"/api/v2/dags/{dag_id}").raise_for_status().json()["file_token"]
        self.api("PUT", f"/api/v2/parseDagFile/{token}").raise_for_status()

    def wait_for_runs(self, dag_id: str, count: int, timeout: float = 240) -> None:
        """Wait until ``dag_id`` has ``count`` dag runs, all successful; a failed one ends the wait."""

        def succeeded() -> bool:
            answer = self.api("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={"limit": count + 1})
            states = [run["state"] for run in answer.raise_for_status().json()["dag_runs"]]
            if "failed" in states or len(states) > count:
                raise RuntimeError(f"{dag_id} has runs in states {states}\n{self._log_tail('scheduler')}")
            return states == ["success"] * count

        self.wait_until(succeeded, f"{dag_id} has {count} successful runs", timeout)

    def _start_component(self, name: str) -> None:
        with (self.logs / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *COMMANDS.get(name, (name.partition(" ")[0],))],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=stop_with_parent(signal.SIGTERM),  # noqa: PLW1509
            )

    def _health(self) -> dict[str, Any] | None:
        try:
            return dict(self._http("GET", "/api/v2/monitor/health").raise_for_status().json())
        except (httpx.HTTPError, ValueError):
            return None

    def _is_healthy(self, components: tuple[str, ...]) -> bool:
        health = self._health() or {}
        known = [name for name in components if name in BEHIND_THE_API]
        parts = ("metadatabase", *(name.replace("-", "_") for name in known))
        return all(health.get(part, {}).get("status") == "healthy" for part in parts)

    def _has_dag(self, dag_id: str) -> bool:
        return self.api("GET", f"/api/v2/dags/{dag_id}").status_code == httpx.codes.OK

    def _http(self, method: str, path: str, **request: Any) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=30) as client:
            return client.request(method, f"{self.url}{path}", **request)

    def _log_tail(self, name: str, characters: int = 4000) -> str:
        return (self.logs / f"{name}.log").read_text(errors="replace")[-characters:]


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
