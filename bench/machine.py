"""On what it was measured."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    "airflow-safe-clear",
    "apache-airflow",
    "apache-airflow-providers-fab",
    "sqlalchemy",
    "psycopg",
    "psycopg2-binary",
    "flask",
    "fastapi",
)


def machine() -> dict[str, Any]:
    """Return what the machine is, and how busy it was at first."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": found[1] if found else platform.machine(),
        "cpus": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Return the versions of what takes part."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
