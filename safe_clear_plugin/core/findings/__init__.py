"""What a clear would cause, beyond what it clears: small rules, listed in one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from safe_clear_plugin.core.findings import (
    capacity,
    concurrent_plans,
    cost,
    deadlines,
    dependencies,
    limits,
    not_checked,
    reruns,
    running,
    scheduling,
    side_effects,
    versions,
)
from safe_clear_plugin.core.findings.capacity import CapacityFacts
from safe_clear_plugin.core.findings.concurrent_plans import OtherFacts
from safe_clear_plugin.core.findings.cost import CostFacts
from safe_clear_plugin.core.findings.deadlines import DeadlineFacts
from safe_clear_plugin.core.findings.dependencies import NeighbourFacts
from safe_clear_plugin.core.findings.finding import Check, Finding, Level, Link
from safe_clear_plugin.core.findings.limits import LimitFacts
from safe_clear_plugin.core.findings.not_checked import NotCheckedFacts
from safe_clear_plugin.core.findings.reruns import RedoneFacts
from safe_clear_plugin.core.findings.running import RunningFacts
from safe_clear_plugin.core.findings.scheduling import StartingFacts
from safe_clear_plugin.core.findings.side_effects import FiringFacts
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
    "NotCheckedFacts",
    "OtherFacts",
    "RedoneFacts",
    "RunningFacts",
    "StartingFacts",
    "VersionFacts",
    "find",
]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the findings are derived from, by area: counted on the stored plan, and on what surrounds it.

    ``None`` stands for an area that was not looked at in time.
    """

    limits: LimitFacts
    running: RunningFacts
    starting: StartingFacts | None
    versions: VersionFacts | None
    neighbours: NeighbourFacts | None = field(default_factory=NeighbourFacts)
    redone: RedoneFacts | None = field(default_factory=RedoneFacts)
    others: OtherFacts | None = field(default_factory=OtherFacts)
    deadlines: DeadlineFacts | None = field(default_factory=DeadlineFacts)
    capacity: CapacityFacts | None = field(default_factory=CapacityFacts)
    firing: FiringFacts | None = field(default_factory=FiringFacts)
    cost: CostFacts | None = field(default_factory=CostFacts)

    @property
    def not_checked(self) -> NotCheckedFacts:
        """The checks of the areas that were not looked at."""
        missing = [CHECKS[one.name] for one in fields(self) if getattr(self, one.name) is None]
        return NotCheckedFacts(tuple(check for checks in missing for check in checks))


CHECKS: dict[str, tuple[Check[Any], ...]] = {
    "limits": limits.CHECKS,
    "not_checked": not_checked.CHECKS,
    "neighbours": dependencies.CHECKS,
    "redone": reruns.CHECKS,
    "others": concurrent_plans.CHECKS,
    "running": running.CHECKS,
    "starting": scheduling.CHECKS,
    "capacity": capacity.CHECKS,
    "firing": side_effects.CHECKS,
    "cost": cost.CHECKS,
    "versions": versions.CHECKS,
    "deadlines": deadlines.CHECKS,
}
"""Every check, by the area whose facts it looks at, in the order in which a page lists them."""


def find(facts: Facts) -> Iterator[Finding]:
    """Yield what the checks have to say, in the order in which they are listed."""
    for area, checks in CHECKS.items():
        if (known := getattr(facts, area)) is not None:
            yield from (found for check in checks if (found := check.rule(known)) is not None)
