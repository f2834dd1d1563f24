"""Limits that no plan may pass, whoever confirms it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.findings.finding import Check, Finding
from safe_clear_plugin.core.words import count

NAMED = 3
"""Tasks and patterns that a sentence names before it only counts them."""


@dataclass(frozen=True, slots=True)
class Protection:
    """A pattern, and the tasks of the plan that it matches, each with its number of task instances."""

    pattern: str
    tasks: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """A plan's size and tasks against the options of the section ``[safe_clear]``."""

    task_instances: int = 0
    max_task_instances: int = 0
    protections: tuple[Protection, ...] = ()
    unreadable: tuple[int, ...] = ()
    """Which patterns cannot be read, counted from 1: their text may name DAGs that not everyone may see."""


def too_many(facts: LimitFacts) -> Finding | None:
    """More task instances than one clear may take."""
    limit = facts.max_task_instances
    if not 0 < limit < facts.task_instances:
        return None
    return Finding(
        "too_many",
        "refuse",
        f"{count(facts.task_instances, 'task instance')} are more than the {limit:,} that a clear may take",
        f"Set by `[safe_clear] max_task_instances = {limit}`.",
        facts.task_instances,
        "Narrow the dates, the tasks or the states, and clear in parts.",
    )


def protected(facts: LimitFacts) -> Finding | None:
    """Tasks that no clear may touch."""
    if not facts.protections:
        return None
    tasks = dict(task for one in facts.protections for task in one.tasks)
    task_ids, total = list(tasks), sum(tasks.values())
    patterns = [f"`{one.pattern}`" for one in facts.protections]
    named = listed([f"`{task_id}`" for task_id in task_ids], "task")
    return Finding(
        "protected",
        "refuse",
        f"{named} {'is' if len(tasks) == 1 else 'are'} protected",
        f"No clear may touch {'it' if len(tasks) == 1 else 'them'}, and the plan has "
        f"{count(total, 'task instance')} of {'it' if len(tasks) == 1 else 'them'}. "
        f"Set by {listed(patterns, 'pattern')} in `[safe_clear] protected`.",
        total,
        "Exclude them, or ask whoever runs this Airflow.",
        filter={"task": task_ids[0]} if len(tasks) == 1 else {},
    )


def protected_unreadable(facts: LimitFacts) -> Finding | None:
    """A pattern that cannot be read protects everything: what it was meant for is not known."""
    if not facts.unreadable:
        return None
    number = len(facts.unreadable)
    which = listed([str(at) for at in facts.unreadable], "pattern")
    return Finding(
        "protected_unreadable",
        "refuse",
        f"Nothing may be cleared: {count(number, 'protected pattern')} cannot be read",
        f"What {'it protects' if number == 1 else 'they protect'} is not known: "
        f"{'number' if number == 1 else 'numbers'} {which} of `[safe_clear] protected`.",
        facts.task_instances,
        "Your Airflow administrator can correct it: patterns are `dag_id:task_regex`, parted by whitespace.",
    )


def listed(names: Sequence[str], noun: str) -> str:
    """Return ``a``, ``a and b``, or ``a, b, c and 2 more tasks``."""
    if len(names) > NAMED:
        more = len(names) - NAMED
        return f"{', '.join(names[:NAMED])} and {more:,} more {noun}{'' if more == 1 else 's'}"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


CHECKS: tuple[Check[LimitFacts], ...] = (
    Check("too_many", "more task instances than one clear may take", too_many, is_grave=True),
    Check("protected", "protected tasks", protected, is_grave=True),
    Check(
        "protected_unreadable", "protected patterns that cannot be read", protected_unreadable, is_grave=True
    ),
)
