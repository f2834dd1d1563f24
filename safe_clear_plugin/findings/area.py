"""An area: facts about a plan that are collected together, and the checks that judge them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.findings.context import PlanContext

FactsT = TypeVar("FactsT")


@dataclass(frozen=True, slots=True)
class Check(Generic[FactsT]):
    """A rule, with a few words on what it looks for, shown when it finds nothing."""

    code: str
    looks_for: str
    rule: Callable[[FactsT], Finding | None]
    is_grave: bool = False
    """Whether its finding may ask for an acknowledgement, or refuse the plan."""


@dataclass(frozen=True, slots=True)
class Area(Generic[FactsT]):
    """One module of this package: how it collects its facts, and its checks in the order of the page."""

    name: str
    collect_facts: Callable[[PlanContext], FactsT]
    checks: tuple[Check[FactsT], ...]
    has_time_limit: bool = True
    """Whether the facts are given up when they take too long; without a limit they always come."""
    needs_workload: bool = False
    """Whether the facts are read from :attr:`PlanContext.workload`."""
    writes: bool = False
    """Whether collecting the facts writes rows of the plan that other areas read."""
