"""What the scheduler is foreseen to make of a cleared task instance, and of its dag run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from safe_clear_plugin.core.codes import Code


class Outcome(Code):
    """What becomes of a task instance after the clear, as far as it can be known."""

    RUNS = "runs"
    """It runs, if what lies upstream of it succeeds."""
    SKIPPED = "skipped"
    """The scheduler skips it without running it."""
    UPSTREAM_FAILED = "upstream_failed"
    """The scheduler marks it Upstream Failed without running it."""
    REMOVED = "removed"
    """Its task or map index is gone, so the scheduler removes it."""
    NEVER_STARTS = "never_starts"
    """Nothing that is foreseen will start it."""
    WAITS = "waits"
    """It waits until a person answers."""
    RESUMES = "resumes"
    """It goes on with a job that an earlier try started."""
    UNKNOWN = "unknown"


class RunOutcome(Code):
    """What becomes of a dag run after the clear, as far as it can be known."""

    RUNS = "runs"
    """It ends as its task instances do."""
    FAILS = "fails"
    """It will fail, even if each task that runs succeeds."""
    NEVER_STARTS = "never_starts"
    """The scheduler will not look at it, or never end it."""
    UNKNOWN = "unknown"


class OutcomeReason(Code):
    """Why an outcome is what it is, where it is not simply ``runs``."""

    TRIGGER_RULE = "trigger_rule"
    RUN_NOT_RESET = "run_not_reset"
    """The dag run is finished and stays so."""
    BACKFILL_ENDED = "backfill_ended"
    """The dag run belongs to a backfill that is cancelled, or paused and over: it stays queued."""
    POOL = "pool"
    """No slot of its pool can be had: the pool is missing, too small, or another team's."""
    EXECUTOR = "executor"
    """Its executor is not configured."""
    TASK_GONE = "task_gone"
    """The DAG version that the run uses does not have its task."""
    MAP_INDEX_GONE = "map_index_gone"
    """The DAG version that the run uses maps its task otherwise."""
    NOT_PREDICTED = "not_predicted"
    """The time for the prediction ran out."""


REASON_WORDS = {
    OutcomeReason.TRIGGER_RULE: "trigger rule",
    OutcomeReason.RUN_NOT_RESET: "the run is finished and not reset",
    OutcomeReason.BACKFILL_ENDED: "the run's backfill is over",
    OutcomeReason.POOL: "pool",
    OutcomeReason.EXECUTOR: "executor",
    OutcomeReason.TASK_GONE: "its task is not in the DAG any more",
    OutcomeReason.MAP_INDEX_GONE: "its map index is not in the mapping any more",
    OutcomeReason.NOT_PREDICTED: "not predicted in time",
}

OUTCOME_LABELS = {
    Outcome.RUNS: "Runs",
    Outcome.SKIPPED: "Skipped",
    Outcome.UPSTREAM_FAILED: "Upstream Failed",
    Outcome.REMOVED: "Removed",
    Outcome.NEVER_STARTS: "Never starts",
    Outcome.WAITS: "Waits for a person",
    Outcome.RESUMES: "Resumes a job",
    Outcome.UNKNOWN: "Not known",
}
"""Each outcome as a table writes it."""

COUNT_WORDS = {
    Outcome.RUNS: "will run",
    Outcome.RESUMES: "will resume a job",
    Outcome.WAITS: "will wait for a person",
    Outcome.SKIPPED: "will be skipped",
    Outcome.UPSTREAM_FAILED: "will be Upstream Failed",
    Outcome.REMOVED: "will be removed",
    Outcome.NEVER_STARTS: "will never start",
    Outcome.UNKNOWN: "not known",
}
"""The words behind a count of task instances, in the order in which counts are listed."""

RUN_COUNT_WORDS = {
    RunOutcome.FAILS: "will fail",
    RunOutcome.NEVER_STARTS: "will never start or end",
    RunOutcome.UNKNOWN: "not known",
}
"""The words behind a count of dag runs that do not simply run."""


def describe_counts(counts: Mapping[str, int]) -> str:
    """Say how many task instances come to each outcome: ``40 will run, 2 will be skipped``."""
    return ", ".join(f"{counts[code]:,} {words}" for code, words in COUNT_WORDS.items() if counts.get(code))


def describe_run_counts(counts: Mapping[str, int]) -> str:
    """Say how many dag runs come to an end of their own; nothing where all simply run."""
    return ", ".join(
        f"{counts[code]:,} {words}" for code, words in RUN_COUNT_WORDS.items() if counts.get(code)
    )


ENDED_AT_ONCE = (Outcome.SKIPPED, Outcome.UPSTREAM_FAILED, Outcome.REMOVED)
"""Outcomes of task instances that end without running."""


def reason_words(reason: str | None) -> str:
    """Return the words for a reason; none for none, or for one of a later version."""
    try:
        return REASON_WORDS[OutcomeReason(reason)]
    except ValueError:
        return ""


def count_outcomes(counts: Iterable[tuple[str | None, int]]) -> dict[str, int]:
    """Return the counts by outcome, all outcomes named; those without one are left out."""
    found = {outcome.value: 0 for outcome in Outcome}
    for outcome, count in counts:
        if outcome is not None:
            found[outcome] += count
    return found
