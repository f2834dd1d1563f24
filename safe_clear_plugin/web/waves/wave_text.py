"""Waves in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.waves import RunCounts, RunOrder, Then, WaveReason, Waves, WaveState
from safe_clear_plugin.web.app.moments import when

THEN = {Then.ASK: "then wait for a person", Then.GO_ON: "then go on if all succeeded"}
STATES = {
    WaveState.CLEARING: "Clearing",
    WaveState.WAITING_FOR_RUNS: "Waiting for runs",
    WaveState.WAITING_FOR_PERSON: "Waiting for a person",
    WaveState.SCHEDULED: "Scheduled",
}


def describe(waves: Waves | None) -> str:
    """Say how a clear is paced: ``First 1 run, then wait for a person; at most 3 runs unfinished``."""
    if waves is None:
        return "All at once"
    text = "; ".join(_parts(waves)) or "All at once"
    return text[0].upper() + text[1:]


def _parts(waves: Waves) -> Iterator[str]:
    if waves.not_before is not None:
        yield f"not before {when(waves.not_before)}"
    if waves.first_runs is not None and waves.then is not None:
        yield f"first {count(waves.first_runs, 'run')}, {THEN[waves.then]}"
    if waves.at_most_runs is not None:
        yield f"at most {count(waves.at_most_runs, 'run')} unfinished at a time"
    if waves.stop_after_failed is not None:
        yield f"a person decides after {count(waves.stop_after_failed, 'failed run')}"
    if waves.order is RunOrder.NEWEST:
        yield "newest runs first"


def state_text(plan: PlanSummary) -> str:
    """Say what the waves of a plan that is being cleared do now."""
    state = plan.wave_state or WaveState.CLEARING
    if state is WaveState.SCHEDULED and plan.waves and plan.waves.not_before:
        return f"Nothing is cleared before {when(plan.waves.not_before)}."
    if state is WaveState.WAITING_FOR_RUNS:
        return "Nothing more is cleared until these runs finish."
    return f"{STATES[state]}."


def question(plan: PlanSummary, counts: RunCounts) -> str:
    """Say why a plan waits for a person."""
    first = plan.waves.first_runs if plan.waves else None
    runs = "The first run" if first == 1 else f"The first {first:,} runs" if first else "The runs"
    has = "has" if first == 1 else "have"
    failed = counts.failing + counts.failed
    if plan.wave_reason is WaveReason.FIRST_DONE:
        return f"{runs} {has} succeeded. Go on with the rest?"
    if plan.wave_reason is WaveReason.FIRST_INCONCLUSIVE:
        waits = "waits" if first == 1 else "wait"
        return f"{runs} {waits} for a person, or for a start that will not come. Go on all the same?"
    if plan.wave_reason is WaveReason.FIRST_FAILED:
        return (
            "The first run failed." if first == 1 else f"{failed:,} of the first {first or 0:,} runs failed."
        )
    return f"{count(failed, 'run')} failed."


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the strip of runs: how many there are, in a word, with the color of a state of Airflow's."""

    name: str
    label: str
    state: str | None
    count: int


def strip(counts: RunCounts) -> list[Part]:
    """Return the parts of the strip of runs, in the order in which they come."""
    parts = [
        Part("done", "done", "success", counts.done),
        Part("failed", "failed", "failed", counts.failing + counts.failed),
        Part("running_again", "running again", "running", counts.running_again),
        Part("waiting", "waiting", "deferred", counts.waiting),
        Part("undone", "undone", "removed", counts.undone),
        Part("untouched", "untouched", None, counts.untouched),
    ]
    return [part for part in parts if part.count]
