"""Checks that did not finish in time, of which nobody knows what they would have said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.core.findings.finding import Check, Finding
from safe_clear_plugin.core.plan_text import count

NAMED = 6
"""Checks that the finding names before it only counts them."""


@dataclass(frozen=True, slots=True)
class NotCheckedFacts:
    """The checks that did not finish."""

    checks: tuple[Check[Any], ...] = ()


def not_checked(facts: NotCheckedFacts) -> Finding | None:
    """Checks that did not finish in time: it takes a tick where one of them may ask for one."""
    if not facts.checks:
        return None
    # The gravest first: a reader has to know what may be amiss.
    checks = sorted(facts.checks, key=lambda check: not check.is_grave)
    number = len(checks)
    title = f"{count(number, 'check')} did not finish in time"
    return Finding(
        "not_checked",
        "acknowledge" if checks[0].is_grave else "warn",
        title,
        f"Whether there is any of this is not known: {_named(checks)}. "
        "How long they may take is set by `[safe_clear] findings_timeout`.",
        number,
        remedy="Preview fewer dag runs, or preview again when the database is less busy.",
    )


def _named(checks: Sequence[Check[Any]]) -> str:
    named = "; ".join(check.looks_for for check in checks[:NAMED])
    more = len(checks) - NAMED
    return f"{named}; and {more:,} more" if more > 0 else named


CHECKS: tuple[Check[NotCheckedFacts], ...] = (
    Check("not_checked", "checks that did not finish in time", not_checked),
)
