"""What a clear would cause, beyond what it clears: small rules, listed in one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from safe_clear_plugin.core.findings import (
    capacity,
    cost,
    deadlines,
    firing,
    limits,
    neighbours,
    others,
    redone,
    running,
    starting,
    versions,
)
from safe_clear_plugin.core.findings.capacity import CapacityFacts
from safe_clear_plugin.core.findings.cost import CostFacts
from safe_clear_plugin.core.findings.deadlines import DeadlineFacts
from safe_clear_plugin.core.findings.finding import Check, Finding, Level, Link
from safe_clear_plugin.core.findings.firing import FiringFacts
from safe_clear_plugin.core.findings.limits import LimitFacts
from safe_clear_plugin.core.findings.neighbours import NeighbourFacts
from safe_clear_plugin.core.findings.others import OtherFacts
from safe_clear_plugin.core.findings.redone import RedoneFacts
from safe_clear_plugin.core.findings.running import RunningFacts
from safe_clear_plugin.core.findings.starting import StartingFacts
from safe_clear_plugin.core.findings.versions import VersionFacts

__all__ = [
    "CHECKS",
    "CapacityFacts",
    "Check",
    "CostFacts",
    "DeadlineFacts",
    "Facts",
    "Finding",
    "FiringFacts",
    "Level",
    "LimitFacts",
    "Link",
    "NeighbourFacts",
    "OtherFacts",
    "RedoneFacts",
    "RunningFacts",
    "StartingFacts",
    "VersionFacts",
    "find",
]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the findings are derived from, by area: counted on the stored plan, and on what surrounds it."""

    limits: LimitFacts
    running: RunningFacts
    starting: StartingFacts
    versions: VersionFacts
    neighbours: NeighbourFacts = field(default_factory=NeighbourFacts)
    redone: RedoneFacts = field(default_factory=RedoneFacts)
    others: OtherFacts = field(default_factory=OtherFacts)
    deadlines: DeadlineFacts = field(default_factory=DeadlineFacts)
    capacity: CapacityFacts = field(default_factory=CapacityFacts)
    firing: FiringFacts = field(default_factory=FiringFacts)
    cost: CostFacts = field(default_factory=CostFacts)


CHECKS: dict[str, tuple[Check[Any], ...]] = {
    "limits": limits.CHECKS,
    "neighbours": neighbours.CHECKS,
    "redone": redone.CHECKS,
    "others": others.CHECKS,
    "running": running.CHECKS,
    "starting": starting.CHECKS,
    "capacity": capacity.CHECKS,
    "firing": firing.CHECKS,
    "cost": cost.CHECKS,
    "versions": versions.CHECKS,
    "deadlines": deadlines.CHECKS,
}
"""Every check, by the area whose facts it looks at, in the order in which a page lists them."""


def find(facts: Facts) -> Iterator[Finding]:
    """Yield what the checks have to say, in the order in which they are listed."""
    for area, checks in CHECKS.items():
        for check in checks:
            if (finding := check.rule(getattr(facts, area))) is not None:
                yield finding
