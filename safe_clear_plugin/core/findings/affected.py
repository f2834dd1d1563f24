"""Task instances behind a finding, counted, and how a sentence names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.plan_text import MANY, count
from safe_clear_plugin.core.states import NO_STATE


@dataclass(frozen=True, slots=True)
class Affected:
    """How many task instances in how many runs, of which tasks (the most frequent first), in which states."""

    count: int = 0
    runs: int = 0
    tasks: tuple[str, ...] = ()
    states: tuple[tuple[str | None, int], ...] = ()

    @classmethod
    def of(cls, tally: Iterable[tuple[str, str | None, int]], runs: int) -> Affected:
        """Sum up counts by task id and state."""
        by_task: Counter[str] = Counter()
        by_state: Counter[str | None] = Counter()
        for task_id, state, number in tally:
            by_task[task_id] += number
            by_state[state] += number
        return cls(
            by_task.total(),
            runs,
            tuple(sorted(by_task, key=lambda task: (-by_task[task], task))),
            tuple(sorted(by_state.items(), key=lambda item: (-item[1], item[0] or ""))),
        )

    def has(self, *states: str) -> bool:
        """Whether any of them is in one of the states."""
        return any(state in states for state, _ in self.states)


NOTHING = Affected()


def named(task_ids: Sequence[str]) -> str:
    """Return task ids as a sentence lists them: the first few, then how many more."""
    if len(task_ids) > MANY:
        shown, rest = task_ids[: MANY - 1], len(task_ids) - (MANY - 1)
        return f"{', '.join(f'`{task}`' for task in shown)} and {count(rest, 'more task')}"
    return joined([f"`{task}`" for task in task_ids])


def joined(parts: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def by_state(states: Iterable[tuple[str | None, int]]) -> str:
    """Return ``17 failed, 3 no status``."""
    return ", ".join(f"{number:,} {state_word(state)}" for state, number in states)


def state_word(state: str | None) -> str:
    """Return a state as it stands in a sentence."""
    return "no status" if state in (None, NO_STATE) else str(state)


def in_runs(number: int) -> str:
    """Return ``in 1 run``, ``in 63 runs``."""
    return f"in {count(number, 'run')}"
