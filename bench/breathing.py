"""How long a heartbeat, the scheduler and another request wait while a clear goes on in a real api-server."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from bench.children import Child
from bench.databases import DRIVERS, BenchServer, engine_args
from bench.scopes import Scope, dag_id
from bench.workers import DATABASE
from tests.support.postgres import SUPERUSER
from tests.support.server import AirflowServer

SIZE = 10_000
QUIET_SECONDS = 20.0
PARALLELISM = "32"
FOLLOWED_EVERY = 1.0
RUNNING = """
WITH chosen AS (
    SELECT ti.id, r.id AS run_pk FROM dag_run r
    JOIN task_instance ti ON ti.dag_id = r.dag_id AND ti.run_id = r.run_id
    WHERE r.dag_id = %(dag_id)s AND r.logical_date >= %(date_from)s AND ti.task_id = 'publish_09'
    ORDER BY r.logical_date
), runs AS (
    UPDATE dag_run SET state = 'running', end_date = NULL WHERE id IN (SELECT run_pk FROM chosen)
)
UPDATE task_instance SET state = 'running', end_date = NULL, last_heartbeat_at = now()
WHERE id IN (SELECT id FROM chosen) RETURNING id::text
"""
SCHEDULED = """
WITH run AS (
    UPDATE dag_run SET state = 'running', end_date = NULL
    WHERE dag_id = %(dag_id)s AND logical_date = (
        SELECT max(logical_date) FROM dag_run WHERE dag_id = %(dag_id)s
    )
    RETURNING dag_id, run_id
)
UPDATE task_instance ti SET state = 'scheduled', start_date = NULL, end_date = NULL
FROM run WHERE ti.dag_id = run.dag_id AND ti.run_id = run.run_id
"""
Send = Callable[..., httpx.Response]


def rows(server: BenchServer, scope: Scope, cap: float) -> list[dict[str, Any]]:
    """Measure the waits without a driver and with an idle one, while we clear, and while Airflow clears."""
    ways = {"no_driver": quiet, "nothing": quiet, "ours": ours, "airflow_rest": airflow}
    return [
        {
            "op": "breathing",
            "size": scope.task_instances,
            "who": who,
            **_measure(server, scope, way, cap, driver="none" if who == "no_driver" else "api-server"),
        }
        for who, way in ways.items()
    ]


def quiet(_: Send, __: Scope) -> None:
    """Do nothing for a while."""
    time.sleep(QUIET_SECONDS)


def ours(send: Send, scope: Scope) -> None:
    """Plan, confirm, and follow the driver as the page does."""
    address, body = confirm(send, scope)
    while (found := send(address, json=body).json())["status"] != "applied":
        if found["status"] != "applying":
            raise RuntimeError(f"the clear ended as {found}")
        time.sleep(FOLLOWED_EVERY)


def confirm(send: Send, scope: Scope, **more: Any) -> tuple[str, dict[str, Any]]:
    """Plan and confirm; return the address and the body, which can be sent again to read the status."""
    home = "/pluginsv2/safe_clear/plans"
    fields = {"dag_id": scope.dag_id, "date_from": scope.date_from, "date_to": scope.date_to}
    plan = send(home, json=fields).json()
    body = {
        "fingerprint": plan["fingerprint"],
        "reason": "because",
        "confirm_dag_id": scope.dag_id,
        "acknowledge": [finding["code"] for finding in plan["findings"]],
        **more,
    }
    send(f"{home}/{plan['id']}/apply", json=body)
    return f"{home}/{plan['id']}/apply", body


def airflow(send: Send, scope: Scope) -> None:
    """Clear in one request, as Airflow's UI does."""
    body = {"dry_run": False, "start_date": scope.date_from, "end_date": scope.date_to, "only_failed": False}
    send(f"/api/v2/dags/{scope.dag_id}/clearTaskInstances", json=body)


def _measure(
    server: BenchServer, scope: Scope, clear: Callable[[Send, Scope], None], cap: float, *, driver: str
) -> dict[str, Any]:
    with server.copy(DATABASE):
        running = _set_going(server, scope)
        with (
            serving(server, "bench.idle.IdleExecutor", cap, AIRFLOW__SAFE_CLEAR__DRIVER=driver) as (
                url,
                send,
            ),
            _probing(server, url, running) as found,
        ):
            start = time.perf_counter()
            clear(send, scope)
            seconds = time.perf_counter() - start
    return {"seconds": seconds, **found}


@contextmanager
def serving(server: BenchServer, executor: str, cap: float, **options: str) -> Iterator[tuple[str, Send]]:
    """Run an api-server and a scheduler on the copy; yield the address, and how to post as an admin."""
    with tempfile.TemporaryDirectory() as dags:
        web = AirflowServer(
            server.url(DATABASE),
            Path(dags),
            AIRFLOW__DATABASE__SQL_ALCHEMY_ENGINE_ARGS=engine_args(DRIVERS[0]),
            AIRFLOW__CORE__EXECUTOR=executor,
            AIRFLOW__CORE__PARALLELISM=PARALLELISM,
            AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
            **options,
        )
        try:
            web.start(components=("scheduler",))
            with httpx.Client(base_url=web.url, trust_env=False, timeout=cap) as client:
                client.headers["Authorization"] = f"Bearer {web.token('admin')}"

                def send(address: str, **request: Any) -> httpx.Response:
                    return client.post(address, **request).raise_for_status()

                yield web.url, send
        finally:
            web.stop()


@contextmanager
def _probing(server: BenchServer, url: str, running: list[str]) -> Iterator[dict[str, Any]]:
    """Probe during the block; what was found is complete when the block has ended."""
    found: dict[str, Any] = {}
    probes = Child(server, DATABASE, "bench.probes")
    try:
        probes.send({"url": url, "running": running})
        probes.receive()
        yield found
        probes.send("stop")
        found.update(probes.receive())
    finally:
        probes.stop()


def _set_going(server: BenchServer, scope: Scope) -> list[str]:
    """Let a task instance run in each of the runs to be cleared, and others wait for the scheduler."""
    values = {"dag_id": scope.dag_id, "date_from": scope.date_from}
    with psycopg.connect(host=str(server.directory), dbname=DATABASE, user=SUPERUSER) as connection:
        connection.execute(SCHEDULED, {"dag_id": dag_id(1)})
        return [row[0] for row in connection.execute(RUNNING, values)]
