"""Gathers what the findings are derived from: one module for each of their areas."""

from __future__ import annotations

import math

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget
from safe_clear_plugin.core.findings import Facts
from safe_clear_plugin.services.facts import (
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
    workload,
)
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.services.facts.patience import Patience

__all__ = ["PlanContext", "gather"]


def gather(plan: PlanContext) -> Facts:
    """Return the facts of a plan whose rows have been written, as far as there is time for them.

    Limits keep a plan from being confirmed, so they are looked at however long it takes.
    """
    budget = Budget(config.findings_timeout() or math.inf)
    with Patience(budget, plan.session) as patience:
        around = patience.ask(neighbours.facts, plan)
        patience.keep()
        # What is foreseen to end at once is no work.
        work = patience.ask(workload.read, plan)
        return Facts(
            limits=limits.facts(plan),
            running=running.facts(plan),
            neighbours=around,
            redone=patience.ask(redone.facts, plan),
            others=patience.ask(others.facts, plan),
            versions=patience.ask(versions.facts, plan),
            deadlines=patience.ask(deadlines.facts, plan),
            starting=patience.ask(starting.facts, plan, work) if work else None,
            capacity=patience.ask(capacity.facts, plan, work) if work else None,
            firing=patience.ask(firing.facts, plan, work) if work else None,
            cost=cost.facts(plan, work) if work else None,
        )
