"""Limits of the options, which no plan can exceed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count, join_some, verb
from safe_clear_plugin.core.limits import Limits
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.protected_tasks import (
    Pattern,
    Protection,
    Unreadable,
    match_protected,
    read_pattern,
)
from safe_clear_plugin.findings.wording import is_or_are
from safe_clear_plugin.storage.findings import task_counts


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """A plan's size and tasks, with the options of the section ``[safe_clear]`` that limit them."""

    task_instances: int = 0
    max_task_instances: int = 0
    protections: tuple[Protection, ...] = ()
    unreadable: tuple[int, ...] = ()
    """Positions of unreadable patterns, from 1. Their text may name DAGs that the reader can't see."""


def collect_facts(plan: PlanContext) -> LimitFacts:
    """Compare a plan with the options as they are now."""
    return compare_with_limits(config.limits(), plan.plan_id, plan.dag_id, plan.task_instances, plan.session)


def compare_with_limits(
    limits: Limits, plan_id: UUID, dag_id: str, task_instances: int, session: Session
) -> LimitFacts:
    """Compare a plan whose rows are written with these limits."""
    read = [read_pattern(text) for text in limits.protected]
    patterns = [one for one in read if isinstance(one, Pattern)]
    tasks = [task for task in task_counts.tasks(plan_id, session) if task.changed] if patterns else []
    return LimitFacts(
        task_instances=task_instances,
        max_task_instances=limits.max_task_instances,
        protections=tuple(match_protected(patterns, dag_id, tasks)),
        unreadable=tuple(at for at, one in enumerate(read, start=1) if isinstance(one, Unreadable)),
    )


def too_many(facts: LimitFacts) -> Finding | None:
    """Refuse more task instances than one clear can take."""
    limit = facts.max_task_instances
    if not 0 < limit < facts.task_instances:
        return None
    return Finding(
        "too_many",
        "refuse",
        f"{count(facts.task_instances, 'task instance')} are too many: one clear can take {limit:,}",
        f"Set by `[safe_clear] max_task_instances = {limit}`.",
        facts.task_instances,
        "Choose fewer runs, tasks or states, and clear in several parts.",
    )


def protected(facts: LimitFacts) -> Finding | None:
    """Refuse tasks that no clear can touch."""
    if not facts.protections:
        return None
    tasks = dict(task for one in facts.protections for task in one.tasks)
    task_ids, total = list(tasks), sum(tasks.values())
    patterns = [f"`{one.pattern}`" for one in facts.protections]
    them = "it" if len(tasks) == 1 else "them"
    return Finding(
        "protected",
        "refuse",
        f"{join_some([f'`{task_id}`' for task_id in task_ids], 'task')} {is_or_are(len(tasks))} protected",
        f"No clear can touch {them}. The plan has {count(total, 'task instance')} of {them}. "
        f"Set by {join_some(patterns, 'pattern')} in `[safe_clear] protected`.",
        total,
        f"Exclude {them}, or ask your Airflow administrator.",
        filter={"task": task_ids[0]} if len(tasks) == 1 else {},
    )


def protected_unreadable(facts: LimitFacts) -> Finding | None:
    """Refuse everything if a pattern cannot be read: nobody knows which tasks it was to protect."""
    if not facts.unreadable:
        return None
    number = len(facts.unreadable)
    return Finding(
        "protected_unreadable",
        "refuse",
        f"Nothing can be cleared: {count(number, 'protected pattern')} can't be read",
        f"Which tasks {verb(number, 'it protects', 'they protect')} is unknown: "
        f"{_numbers(facts.unreadable)} of `[safe_clear] protected`.",
        facts.task_instances,
        "Ask your Airflow administrator to correct it: a pattern is `dag_id:task_regex`, and spaces separate "
        "patterns.",
    )


def _numbers(positions: Sequence[int]) -> str:
    names = join_some([str(position) for position in positions], "pattern")
    return f"{verb(len(positions), 'number', 'numbers')} {names}"


CHECKS: tuple[Check[LimitFacts], ...] = (
    Check("too_many", "more task instances than one clear can take", too_many, is_grave=True),
    Check("protected", "protected tasks", protected, is_grave=True),
    Check(
        "protected_unreadable", "protected patterns that can't be read", protected_unreadable, is_grave=True
    ),
)

AREA = Area("limits", collect_facts, CHECKS, has_time_limit=False)


def refusals(facts: LimitFacts) -> list[Finding]:
    """Return the findings that refuse the plan by a limit."""
    return [found for check in CHECKS if (found := check.rule(facts)) is not None]
