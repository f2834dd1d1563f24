"""Foreseen outcomes: what the scheduler will do with a cleared task instance and with its dag run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from safe_clear_plugin.core.codes import Code


class Outcome(Code):
    """The outcome of a task instance after the clear, as far as it can be known."""

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
    """The outcome of a dag run after the clear, as far as it can be known."""

    RUNS = "runs"
    """It ends as its task instances do."""
    FAILS = "fails"
    """It will fail, even if each task that runs succeeds."""
    NEVER_STARTS = "never_starts"
    """The scheduler will not look at it, or never end it."""
    UNKNOWN = "unknown"


class OutcomeReason(Code):
    """The reason for an outcome other than ``runs``."""

    TRIGGER_RULE = "trigger_rule"
    TRIGGER_RULE_LATER = "trigger_rule_later"
    """Not at once, but as soon as what lies upstream has succeeded."""
    UPSTREAM_MISSING = "upstream_missing"
    """An upstream task has no task instance in the run."""
    UPSTREAM_NEVER_STARTS = "upstream_never_starts"
    PREVIOUS_RUN = "previous_run"
    """``depends_on_past``: the task instance in an earlier run will not succeed."""
    DEADLOCK = "deadlock"
    """Task instances of the dag run never start, so the scheduler fails it when nothing else runs."""
    NEVER_ENDS = "never_ends"
    """Task instances of the dag run never start, and the scheduler waits for them."""
    LEAF_FAILED = "leaf_failed"
    """A task instance at the end of the dag run is, or becomes, failed or upstream_failed."""
    OTHERS_OPEN = "others_open"
    """Task instances of the finished dag run, not in the plan, have no state, so they start as well."""
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
    ALREADY_SKIPPED = "already_skipped"
    """A branch or short circuit upstream has decided so, and does not decide again."""
    EITHER_RULE = "either_rule"
    """Two dependencies give it different states in one pass, in an order that differs between schedulers."""
    BRANCH_DECIDES_AGAIN = "branch_decides_again"
    BRANCH_OR_NEVER = "branch_or_never"
    """A branch upstream may skip it; if not, nothing will start it."""
    BRANCH_OR_FAILED = "branch_or_failed"
    """A branch upstream may skip it; if not, its trigger rule makes it upstream_failed."""
    UPSTREAM_OPEN = "upstream_open"
    """It may run or be upstream_failed, by a state upstream that a branch may change."""
    LATEST_ONLY = "latest_only"
    """A ``LatestOnlyOperator`` upstream of it runs again, in a run that is not the latest."""
    TRIGGER_FAILS = "trigger_fails"
    """It runs and fails, because the dag run that it triggers exists."""
    TRIGGER_SKIPS = "trigger_skips"
    """It runs and is skipped, because the dag run that it triggers exists."""
    WAITS_FOR_PERSON = "waits_for_person"
    STORED_STATE = "stored_state"
    """The task state store has what an earlier try left there."""


REASON_WORDS = {
    OutcomeReason.TRIGGER_RULE: "trigger rule",
    OutcomeReason.TRIGGER_RULE_LATER: "trigger rule, if what lies upstream succeeds",
    OutcomeReason.UPSTREAM_MISSING: "an upstream task has no task instance in the run",
    OutcomeReason.UPSTREAM_NEVER_STARTS: "an upstream task instance never starts",
    OutcomeReason.PREVIOUS_RUN: "its task did not succeed in an earlier run",
    OutcomeReason.DEADLOCK: "task instances that never start",
    OutcomeReason.NEVER_ENDS: "the scheduler waits for task instances that never start",
    OutcomeReason.LEAF_FAILED: "a last task instance is Failed or Upstream Failed",
    OutcomeReason.OTHERS_OPEN: "task instances that are not in the plan start as well",
    OutcomeReason.RUN_NOT_RESET: "the run is finished and not reset",
    OutcomeReason.BACKFILL_ENDED: "the run's backfill is over",
    OutcomeReason.POOL: "pool",
    OutcomeReason.EXECUTOR: "executor",
    OutcomeReason.TASK_GONE: "its task is not in the DAG any more",
    OutcomeReason.MAP_INDEX_GONE: "its map index is not in the mapping any more",
    OutcomeReason.NOT_PREDICTED: "not predicted in time",
    OutcomeReason.ALREADY_SKIPPED: "an earlier branch decision",
    OutcomeReason.EITHER_RULE: "an earlier branch decision or the trigger rule, whichever comes last",
    OutcomeReason.BRANCH_DECIDES_AGAIN: "a branch upstream decides again",
    OutcomeReason.BRANCH_OR_NEVER: "a branch upstream skips it, or it never starts",
    OutcomeReason.BRANCH_OR_FAILED: "a branch upstream skips it, or it is Upstream Failed",
    OutcomeReason.UPSTREAM_OPEN: "a branch upstream may change a state that its trigger rule depends on",
    OutcomeReason.LATEST_ONLY: "not the latest run",
    OutcomeReason.TRIGGER_FAILS: "it will fail, as the Dag run that it triggers exists",
    OutcomeReason.TRIGGER_SKIPS: "it will be skipped, as the Dag run that it triggers exists",
    OutcomeReason.WAITS_FOR_PERSON: "a person has to answer",
    OutcomeReason.STORED_STATE: "state stored by an earlier try",
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
    """Return how many dag runs have an outcome other than ``runs``; empty if none has."""
    return ", ".join(
        f"{counts[code]:,} {words}" for code, words in RUN_COUNT_WORDS.items() if counts.get(code)
    )


ENDED_AT_ONCE = (Outcome.SKIPPED, Outcome.UPSTREAM_FAILED, Outcome.REMOVED)
"""Outcomes of task instances that end without running."""

MAY_FAIL = (OutcomeReason.EITHER_RULE, OutcomeReason.BRANCH_OR_FAILED, OutcomeReason.UPSTREAM_OPEN)
"""Reasons of unknown outcomes of task instances that may be upstream_failed."""

GOES_ON = (Outcome.RUNS, Outcome.WAITS, Outcome.RESUMES)
"""Outcomes of task instances that start, and succeed for all that is known."""


def reason_words(reason: str | None) -> str:
    """Return the words for a reason; empty without one, or for one that a later version wrote."""
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
