"""What an api-server's driver costs while there is nothing to drive."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg

from bench.databases import DRIVERS, BenchServer, engine_args
from bench.workers import DATABASE
from tests.support.postgres import SUPERUSER
from tests.support.server import AirflowServer

SETTLING_SECONDS = 10.0
SECONDS = 60.0
WAYS = {"no_driver": "none", "nothing": "api-server"}
"""`[safe_clear] driver` of each way."""
TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"


def rows(server: BenchServer) -> list[dict[str, Any]]:
    """Measure an api-server that nobody asks for anything, without a driver and with one."""
    return [{"op": "idle_driver", "who": who, **_measure(server, driver)} for who, driver in WAYS.items()]


def _measure(server: BenchServer, driver: str) -> dict[str, Any]:
    with server.copy(DATABASE), tempfile.TemporaryDirectory() as dags:
        web = AirflowServer(
            server.url(DATABASE),
            Path(dags),
            AIRFLOW__DATABASE__SQL_ALCHEMY_ENGINE_ARGS=engine_args(DRIVERS[0]),
            AIRFLOW__SAFE_CLEAR__DRIVER=driver,
        )
        try:
            web.start(components=())
            time.sleep(SETTLING_SECONDS)
            return _cost(server, web.pid("api-server"))
        finally:
            web.stop()


def _cost(server: BenchServer, pid: int) -> dict[str, Any]:
    transactions, cpu = _transactions(server), _cpu_seconds(pid)
    time.sleep(SECONDS)
    return {
        "seconds": SECONDS,
        "cpu_seconds": _cpu_seconds(pid) - cpu,
        "transactions": _transactions(server) - transactions,
    }


def _transactions(server: BenchServer) -> int:
    # Asked in another database, so that the question is not counted.
    with psycopg.connect(host=str(server.directory), dbname="postgres", user=SUPERUSER) as connection:
        return connection.execute(TRANSACTIONS, [DATABASE]).fetchone()[0]  # type: ignore[index,no-any-return]


def _cpu_seconds(pid: int) -> float:
    parent = psutil.Process(pid)
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))
