"""How findings name tasks, states and numbers of runs in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from safe_clear_plugin.core.plan_text import MANY, count
from safe_clear_plugin.core.states import state_name


def join_words(parts: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def join_some(names: Sequence[str], noun: str, most: int = MANY) -> str:
    """Return up to ``most`` names, then how many more: ``a, b, c and 2 more tasks``."""
    if len(names) <= most:
        return join_words(names)
    return f"{', '.join(names[:most])} and {count(len(names) - most, f'more {noun}')}"


def join_tasks(task_ids: Sequence[str]) -> str:
    """Return task ids as code, the first few of them: `` `a`, `b`, `c` and 2 more tasks``."""
    return join_some([f"`{task_id}`" for task_id in task_ids], "task")


def count_states(states: Iterable[tuple[str | None, int]]) -> str:
    """Return ``17 Failed, 3 No Status``."""
    return ", ".join(f"{number:,} {state_name(state)}" for state, number in states)


def in_runs(number: int) -> str:
    """Return ``in 1 run``, ``in 63 runs``."""
    return f"in {count(number, 'run')}"


def is_or_are(number: int) -> str:
    """Return the verb that goes with a number of things."""
    return "is" if number == 1 else "are"
