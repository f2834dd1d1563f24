"""Checks that did not finish in time, so that nobody knows what they would have found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.findings.area import Check

MAX_NAMED = 6
"""Checks that the finding names; it only counts further ones."""


def not_checked(checks: Sequence[Check[Any]]) -> Finding | None:
    """Find checks without facts. They need an acknowledgement if one of them can ask for one."""
    if not checks:
        return None
    # The gravest first: a reader has to know what may be wrong.
    checks = sorted(checks, key=lambda check: not check.is_grave)
    return Finding(
        "not_checked",
        "acknowledge" if checks[0].is_grave else "warn",
        f"{count(len(checks), 'check')} did not finish in time",
        f"Not known: {_named(checks)}. `[safe_clear] findings_timeout` sets how long checks can take.",
        len(checks),
        remedy="Preview fewer runs, or preview again when the database is less busy.",
    )


def _named(checks: Sequence[Check[Any]]) -> str:
    named = "; ".join(check.looks_for for check in checks[:MAX_NAMED])
    more = len(checks) - MAX_NAMED
    return f"{named}; and {more:,} more" if more > 0 else named


CHECK = Check("not_checked", "checks that did not finish in time", not_checked)
