"""What is cleared although it is done, and what is cleared in vain."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.core.findings.affected import NOTHING, Affected, by_state, in_runs, named
from safe_clear_plugin.core.findings.finding import Check, Finding
from safe_clear_plugin.core.plan_text import count
from safe_clear_plugin.core.reasons import NOT_IN_DAG


@dataclass(frozen=True, slots=True)
class RedoneFacts:
    """The cleared task instances by their state, and those whose task the DAG no longer has."""

    cleared: Affected = NOTHING
    gone: Affected = NOTHING


def success_redone(facts: RedoneFacts) -> Finding | None:
    """Work that had succeeded and is done again."""
    cleared = facts.cleared
    succeeded = dict(cleared.states).get("success", 0)
    if not succeeded:
        return None
    others = [(state, number) for state, number in cleared.states if state != "success"]
    again = "it is done again" if succeeded == 1 else "they are done again"
    if others:
        title = f"{succeeded:,} of the {cleared.count:,} already succeeded: {again}"
        rest = f"The others: {by_state(others)}. "
    else:
        title = f"{_all(cleared.count)} already succeeded: {again}"
        rest = ""
    return Finding(
        "success_redone",
        "acknowledge",
        title,
        f"{rest}What succeeded runs once more, on the code and the data of today, and writes its result "
        "again.",
        succeeded,
        remedy="To leave it alone, choose the states to clear, such as failed and upstream_failed.",
        filter={"state": "success", "effect": "clear"},
    )


def not_in_dag(facts: RedoneFacts) -> Finding | None:
    """Task instances of tasks that are no longer in the DAG: they never run."""
    gone = facts.gone
    if not gone.count:
        return None
    becomes = "becomes" if gone.count == 1 else "become"
    are = "is" if len(gone.tasks) == 1 else "are"
    return Finding(
        "not_in_dag",
        "warn",
        f"{count(gone.count, 'cleared task instance')} {becomes} removed: {named(gone.tasks)} {are} not in "
        f"the DAG version used {in_runs(gone.runs)}",
        "The scheduler marks a task instance without a task as removed and never runs it. Its state now, "
        "which shows that it once ran, is gone unless the clear is undone before that.",
        gone.count,
        remedy="Exclude these tasks.",
        filter={"why": NOT_IN_DAG.words},
    )


def _all(number: int) -> str:
    return "The one task instance" if number == 1 else f"All {number:,} task instances"


CHECKS: tuple[Check[RedoneFacts], ...] = (
    Check("success_redone", "work that succeeded and is done again", success_redone, is_grave=True),
    Check("not_in_dag", "tasks that are no longer in the DAG", not_in_dag),
)
