"""What a clear would cause, beyond what it clears: small rules, listed in one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.core.findings import running, starting, versions
from safe_clear_plugin.core.findings.finding import Check, Finding, Level, Link
from safe_clear_plugin.core.findings.running import RunningFacts
from safe_clear_plugin.core.findings.starting import StartingFacts
from safe_clear_plugin.core.findings.versions import VersionFacts

__all__ = [
    "CHECKS",
    "Check",
    "Facts",
    "Finding",
    "Level",
    "Link",
    "RunningFacts",
    "StartingFacts",
    "VersionFacts",
    "find",
]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the findings are derived from, by area: counted on the stored plan, and on what surrounds it."""

    running: RunningFacts
    starting: StartingFacts
    versions: VersionFacts


CHECKS: dict[str, tuple[Check[Any], ...]] = {
    "running": running.CHECKS,
    "starting": starting.CHECKS,
    "versions": versions.CHECKS,
}
"""Every check, by the area whose facts it looks at, in the order in which a page lists them."""


def find(facts: Facts) -> Iterator[Finding]:
    """Yield what the checks have to say, in the order in which they are listed."""
    for area, checks in CHECKS.items():
        for check in checks:
            if (finding := check.rule(getattr(facts, area))) is not None:
                yield finding
