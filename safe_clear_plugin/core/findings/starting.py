"""Whether what is cleared will start, and when."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.core.findings.finding import Check, Finding


@dataclass(frozen=True, slots=True)
class StartingFacts:
    """What the scheduler looks at before it starts something."""

    dag_id: str
    dag_is_paused: bool = False
    dag_is_stale: bool = False
    runs_to_queue: int = 0


def dag_paused(facts: StartingFacts) -> Finding | None:
    """A paused DAG: nothing that is cleared starts."""
    if not facts.dag_is_paused:
        return None
    return Finding(
        "dag_paused",
        "warn",
        f"{facts.dag_id} is paused, so nothing will start",
        "The clear is done at once, but the scheduler starts no task of a paused DAG. Unpause it for that.",
        facts.runs_to_queue,
    )


def dag_stale(facts: StartingFacts) -> Finding | None:
    """A DAG whose file is gone: the scheduler passes it over, as it does a paused one."""
    if not facts.dag_is_stale:
        return None
    return Finding(
        "dag_stale",
        "warn",
        f"{facts.dag_id} is no longer in the DAG files, so nothing will start",
        "The scheduler passes over a DAG that the DAG processor has not seen for a while. "
        "Look at the DAG's import errors, or bring its file back.",
        facts.runs_to_queue,
    )


CHECKS: tuple[Check[StartingFacts], ...] = (
    Check("dag_paused", "a paused DAG", dag_paused),
    Check("dag_stale", "a DAG that is no longer in the DAG files", dag_stale),
)
