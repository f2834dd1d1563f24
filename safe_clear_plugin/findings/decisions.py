"""Cleared task instances that a decision ends, or that wait for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from safe_clear_plugin.core.finding import NOT_AFFECTED, Affected, Finding, Level
from safe_clear_plugin.core.formats import count, verb
from safe_clear_plugin.findings import deciding_tasks
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.suggested_changes import INCLUDE_UPSTREAM
from safe_clear_plugin.findings.wording import in_runs, join_tasks
from safe_clear_plugin.storage.findings import affected_task_instances, later_outcomes

CODES_OF_DECISIONS = ("already_skipped", "branch_decides_again", "latest_only_skips")


@dataclass(frozen=True, slots=True)
class DecisionFacts:
    """The task instances by the finding that they belong to, and what makes the difference in it."""

    affected: Mapping[str, Affected] = field(default_factory=dict)
    answered: int = 0
    """Of those that wait for a person, how many one has answered before."""
    open_answers: int = 0
    """Answers of task instances for which a repeated decision says whether they run."""


def collect_facts(plan: PlanContext) -> DecisionFacts:
    """Count the outcomes that the area of outcomes has written."""
    deciding = deciding_tasks.find(plan)
    codes = [*_codes(plan, deciding)]
    of_plan = (plan.plan_id, plan.dag_id, plan.session)
    affected = {code: affected_task_instances.count_by_task(code, *of_plan) for code in codes}
    waits = affected.get("waits_for_person", NOT_AFFECTED).count
    has_answers = waits or plan.traces.questions
    answered, open_ = later_outcomes.count_answered(plan.plan_id, plan.session) if has_answers else (0, 0)
    return DecisionFacts(affected, answered, open_)


def _codes(plan: PlanContext, deciding: deciding_tasks.DecidingTasks) -> Iterator[str]:
    """Yield the findings that there may be, so that a plan without them is asked nothing."""
    if deciding.deciders:
        yield from CODES_OF_DECISIONS
    if deciding.asking or plan.traces.questions:
        yield "waits_for_person"


def already_skipped(facts: DecisionFacts) -> Finding | None:
    """Find what a branch or short circuit has skipped before and does not decide about again."""
    skipped = facts.affected.get("already_skipped", NOT_AFFECTED)
    if not skipped.count:
        return None
    return Finding(
        "already_skipped",
        _level(skipped),
        f"{count(skipped.count, 'task instance')} will be skipped immediately by an earlier "
        f"decision: {join_tasks(skipped.tasks)} {in_runs(skipped.runs)}",
        f"A branch or short circuit directly upstream decided so and is not cleared with "
        f"{verb(skipped.count, 'it', 'them')}, so its decision stands. The scheduler marks "
        f"{verb(skipped.count, 'it', 'them')} Skipped without running {verb(skipped.count, 'it', 'them')}."
        + _lost(skipped),
        skipped.count,
        remedy="Include upstream so that the branch decides again.",
        widen=(INCLUDE_UPSTREAM,),
        rows=True,
    )


def branch_decides_again(facts: DecisionFacts) -> Finding | None:
    """Find what hangs on a decision that is made again."""
    unknown = facts.affected.get("branch_decides_again", NOT_AFFECTED)
    if not unknown.count:
        return None
    return Finding(
        "branch_decides_again",
        "info",
        f"{count(unknown.count, 'task instance')} {verb(unknown.count, 'depends', 'depend')} on a branch "
        f"that decides again: {join_tasks(unknown.tasks)} {in_runs(unknown.runs)}",
        "A branch or short circuit upstream runs again and may decide differently than before. "
        f"{verb(unknown.count, 'Its outcome is', 'Their outcome is')} unknown until then.",
        unknown.count,
        rows=True,
    )


def latest_only_skips(facts: DecisionFacts) -> Finding | None:
    """Find what a ``LatestOnlyOperator`` will skip, since its run is not the latest."""
    skipped = facts.affected.get("latest_only_skips", NOT_AFFECTED)
    if not skipped.count:
        return None
    return Finding(
        "latest_only_skips",
        _level(skipped),
        f"{count(skipped.count, 'task instance')} will be skipped because "
        f"{verb(skipped.runs, 'the run is', 'the runs are')} not the latest: "
        f"{join_tasks(skipped.tasks)} {in_runs(skipped.runs)}",
        "A `LatestOnlyOperator` upstream runs again. In any scheduled run but the latest it skips what is "
        "directly downstream of it." + _lost(skipped),
        skipped.count,
        remedy="Exclude the `LatestOnlyOperator`: then its decision of that time stands. "
        "A task instance that it let run then will run again.",
        rows=True,
    )


def waits_for_person(facts: DecisionFacts) -> Finding | None:
    """Find what asks a person again: an answer from before is gone."""
    waiting = facts.affected.get("waits_for_person", NOT_AFFECTED)
    if not waiting.count:
        return _may_lose_answers(facts.open_answers)
    answered = (
        f"{count(facts.answered, 'question')} {verb(facts.answered, 'was', 'were')} answered before: "
        f"{verb(facts.answered, 'that answer', 'those answers')} will be lost when the task starts. "
        if facts.answered
        else ""
    )
    if facts.open_answers:
        answered += f"{_more_answers(facts.open_answers)} "
    return Finding(
        "waits_for_person",
        "acknowledge" if facts.answered or facts.open_answers else "warn",
        f"{count(waiting.count, 'task instance')} will wait for a person: "
        f"{join_tasks(waiting.tasks)} {in_runs(waiting.runs)}",
        f"{answered}Airflow asks again. The run waits, without a time limit unless the task has a "
        "`response_timeout`.",
        waiting.count,
        remedy="Exclude these tasks to keep the answers, or answer on Airflow's page Required Actions.",
        rows=True,
    )


def _may_lose_answers(number: int) -> Finding | None:
    """Find answers of tasks that may run again, as a branch or an earlier question decides."""
    if not number:
        return None
    return Finding(
        "waits_for_person",
        "acknowledge",
        f"{count(number, 'cleared task instance')} may ask a person again",
        _more_answers(number),
        number,
        remedy="Exclude these tasks to keep the answers.",
    )


def _more_answers(number: int) -> str:
    return (
        f"{count(number, 'answer')} {verb(number, 'is', 'are')} downstream of a decision that is made "
        f"again, and will be lost if {verb(number, 'its task runs', 'their tasks run')}."
    )


def _level(skipped: Affected) -> Level:
    return "acknowledge" if skipped.has("success") else "warn"


def _lost(skipped: Affected) -> str:
    successes = dict(skipped.states).get("success", 0)
    if not successes:
        return ""
    return f" {successes:,} that succeeded {verb(successes, 'becomes', 'become')} Skipped."


AREA = Area(
    "decisions",
    collect_facts,
    (
        Check("already_skipped", "earlier decisions of branches", already_skipped, is_grave=True),
        Check("branch_decides_again", "branches that decide again", branch_decides_again),
        Check("latest_only_skips", "tasks that run in the latest run only", latest_only_skips, is_grave=True),
        Check("waits_for_person", "tasks that wait for a person", waits_for_person, is_grave=True),
    ),
)
