"""Texts of pages and JSON on an Airflow that Safe Clear does not support."""

from __future__ import annotations

from typing import cast

from flask import g

from safe_clear_plugin.services import availability
from safe_clear_plugin.services.availability import Unsupported


def check() -> None:
    """Compare Airflow with the supported ones, for the rest of the request."""
    g.safe_clear_unsupported = availability.find_unsupported()


def unsupported() -> Unsupported | None:
    """Return the part that is not supported; nothing in a request that was refused before the comparison."""
    return cast("Unsupported | None", g.get("safe_clear_unsupported"))


def unsupported_json() -> dict[str, str] | None:
    """Return the same for programs."""
    found = unsupported()
    if found is None:
        return None
    return {
        "code": availability.UNSUPPORTED_AIRFLOW,
        "error": found.problem.reason,
        "remedy": found.problem.remedy,
    }
