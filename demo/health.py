"""Asks the API server whether all components are healthy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import datetime

API_SERVER = "api-server"
COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


def unhealthy(host: str, port: int, since: datetime) -> list[str]:
    """Return the components that are not healthy yet, the API server first.

    A heartbeat from before ``since`` does not count: it is that of an earlier start.
    """
    try:
        url = f"http://{host}:{port}/api/v2/monitor/health"
        with urllib.request.urlopen(url, timeout=5) as response:
            answer = json.load(response)
    except (OSError, ValueError, urllib.error.URLError):
        return [API_SERVER, *COMPONENTS]
    return [name for name in COMPONENTS if not _is_healthy(name, answer.get(name) or {}, since)]


def _is_healthy(name: str, status: dict[str, str | None], since: datetime) -> bool:
    heartbeat = status.get(f"latest_{name}_heartbeat")
    if heartbeat is not None and datetime.fromisoformat(heartbeat.replace("Z", "+00:00")) < since:
        return False
    return status.get("status") == "healthy"
