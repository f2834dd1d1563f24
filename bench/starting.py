"""Start an api-server's app, with our plugin or not, say what it took: `python -m bench.starting yes|no`."""

from __future__ import annotations

import gc
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from bench.asgi import Client
from bench.meter import Measured, Statements

OURS = "airflow-safe-clear"
REQUESTS = 200


def hide_ours() -> None:
    """Let our distribution not be found by what Airflow looks for plugins and providers with."""
    for name in ("importlib.metadata", "importlib_metadata"):
        if find_spec(name):
            module: Any = import_module(name)
            module.distributions = _without_ours(module.distributions)


def _without_ours(all_distributions: Callable[..., Iterable[Any]]) -> Callable[..., list[Any]]:
    def distributions(**context: Any) -> list[Any]:
        return [found for found in all_distributions(**context) if found.metadata["Name"] != OURS]

    return distributions


def main() -> None:
    """Load plugins, build the app, send it requests that have nothing to do with ours."""
    if sys.argv[1] == "no":
        hide_ours()
    import airflow.models  # noqa: F401, PLC0415
    from airflow import plugins_manager  # noqa: PLC0415

    start, modules = time.perf_counter(), len(sys.modules)
    plugins_manager.ensure_plugins_loaded()
    plugins_seconds, plugins_modules = time.perf_counter() - start, len(sys.modules) - modules
    loaded = "safe_clear_plugin.plugin" in sys.modules
    assert loaded == (sys.argv[1] == "yes"), "our plugin is there, or not, as it should not be"

    from airflow.api_fastapi.app import create_app  # noqa: PLC0415

    start = time.perf_counter()
    client = Client(create_app(apps="all"), {})
    app_seconds = time.perf_counter() - start
    found = Measured()
    with Statements(found, 0):
        request_seconds = median(_timed(client) for _ in range(REQUESTS))
    print(
        json.dumps(
            {
                "plugins_seconds": plugins_seconds,
                "plugins_modules": plugins_modules,
                "app_seconds": app_seconds,
                "memory_mb": _memory_mb(),
                "modules": len(sys.modules),
                "request_seconds": request_seconds,
                "request_statements": found.statements / REQUESTS,
            }
        )
    )


def _timed(client: Client) -> float:
    start = time.perf_counter()
    client.send("GET", "/api/v2/version")
    return time.perf_counter() - start


def _memory_mb() -> float:
    gc.collect()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
