"""Requirements for the person who confirms a plan, and which of them are not met."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.limits import Limits
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem

MAX_DESCRIBED = 5
"""Unmet requirements that a sentence names before it only counts them."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The input of a person who confirms a plan."""

    reason: str = ""
    confirm_dag_id: str = ""
    acknowledge: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Requirements:
    """The requirements on the person who confirms a plan, by the options as they are now."""

    limits: Limits
    """Of ``protected``, only what concerns the plan: the rest may name DAGs that not everyone may see."""
    refused: tuple[Finding, ...]
    """Findings that keep it from being confirmed at all."""
    acknowledge: tuple[Finding, ...]
    dag_id: bool
    """Whether the DAG id must be typed."""
    reason: bool
    approval: bool
    """Whether somebody else than its author must apply it."""


@dataclass(frozen=True, slots=True)
class UnmetRequirement:
    """A requirement that a confirmation does not meet, and the option that sets it.

    ``what`` is a field of the confirmation, ``approval``, or the code of a finding that refuses the plan.
    """

    what: str
    problem: Problem
    limit: str | None = None
    value: Any = None
    config_source: str | None = None
    forbidden: bool = False
    """Whether the person may not confirm it, even with all the rest given."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "what": self.what,
            "limit": self.limit,
            "value": self.value,
            "set_in": self.config_source,
            "reason": self.problem.reason,
            "remedy": self.problem.remedy,
        }


def requirements(plan: PlanSummary, limits: Limits, refused_now: Sequence[Finding]) -> Requirements:
    """Return what a plan requires.

    What refused it when it was made still does; ``refused_now`` are the limits that it meets today.
    """
    now = {finding.code for finding in refused_now}
    stored = [found for found in plan.findings if found.level == "refuse" and found.code not in now]
    return Requirements(
        limits=limits,
        refused=(*refused_now, *stored),
        acknowledge=tuple(finding for finding in plan.findings if finding.level == "acknowledge"),
        dag_id=is_above(plan.task_instances, limits.confirm_above),
        reason=limits.require_reason,
        approval=is_above(plan.task_instances, limits.approve_above),
    )


def is_above(number: int, limit: int) -> bool:
    """Whether a number is above a limit that takes effect."""
    return 0 < limit < number


def unmet_requirements(
    plan: PlanSummary, required: Requirements, given: Confirmation, actor_id: str
) -> Iterator[UnmetRequirement]:
    """Yield the requirements that this person does not meet with what they give."""
    for finding in required.refused:
        yield refusal_of(finding, required.limits)
    if required.approval:
        yield from _approval(plan, required.limits, actor_id)
    for finding in required.acknowledge:
        if finding.code not in given.acknowledge:
            yield UnmetRequirement(
                "acknowledge",
                Problem(f"Not acknowledged: {finding.title}.", "Read it, then tick its box.", "acknowledge"),
                value=finding.code,
            )
    if required.reason and not (given.reason or (required.approval and plan.reason)):
        yield by_option(
            required.limits,
            "require_reason",
            "reason",
            Problem("A reason is required.", "Enter why the task instances are cleared.", "reason"),
        )
    yield from _dag_id(plan, required, given)


def _dag_id(plan: PlanSummary, required: Requirements, given: Confirmation) -> Iterator[UnmetRequirement]:
    if given.confirm_dag_id and given.confirm_dag_id != plan.dag_id:
        yield by_option(
            required.limits,
            "confirm_above",
            "confirm_dag_id",
            Problem(f"This plan is for {plan.dag_id}.", "Type exactly this Dag id.", "confirm_dag_id"),
        )
    elif required.dag_id and not given.confirm_dag_id:
        yield by_option(
            required.limits,
            "confirm_above",
            "confirm_dag_id",
            Problem(
                f"Above {count(required.limits.confirm_above, 'task instance')} you must type the Dag id, "
                f"and this plan has {plan.task_instances:,}.",
                f"Type {plan.dag_id}.",
                "confirm_dag_id",
            ),
        )


def unmet_to_request_approval(required: Requirements, reason: str) -> Iterator[UnmetRequirement]:
    """Yield what the author of a plan has not met to request approval."""
    for finding in required.refused:
        yield refusal_of(finding, required.limits)
    if not reason:
        problem = Problem(
            "A reason is required to request approval.", "Enter why it must be cleared.", "reason"
        )
        yield by_option(required.limits, "approve_above", "reason", problem)


NO_DECLINE_REASON = UnmetRequirement(
    "reason", Problem("A reason is required to decline.", "Enter a reason for the author.", "decline_reason")
)


def refusal_of(finding: Finding, limits: Limits) -> UnmetRequirement:
    """Return a finding that refuses a plan as a requirement that nobody can meet."""
    problem = Problem(f"{finding.title}.", finding.remedy or finding.detail)
    option = REFUSED_BY.get(finding.code)
    return (
        by_option(limits, option, finding.code, problem)
        if option
        else UnmetRequirement(finding.code, problem)
    )


REFUSED_BY = {
    "too_many": "max_task_instances",
    "protected": "protected",
    "protected_unreadable": "protected",
}
"""The option behind each finding that refuses a plan by a limit."""


def _approval(plan: PlanSummary, limits: Limits, actor_id: str) -> Iterator[UnmetRequirement]:
    above = f"Plans above {count(limits.approve_above, 'task instance')} need a second person"
    if plan.is_author(actor_id):
        problem = Problem(
            f"{above}, and you are the author of this one ({plan.task_instances:,}).",
            "Request approval, and share the plan's link with someone else who can clear the Dag.",
        )
        yield by_option(limits, "approve_above", "approval", problem, forbidden=True)
    elif plan.approval_asked_at is None:
        problem = Problem(
            f"{above}, and {plan.created_by_name} has not requested approval yet.",
            "The author can request approval on the plan's page.",
        )
        yield by_option(limits, "approve_above", "approval", problem)


def by_option(
    limits: Limits, option: str, what: str, problem: Problem, *, forbidden: bool = False
) -> UnmetRequirement:
    """Return a requirement that an option sets."""
    value = getattr(limits, option)
    return UnmetRequirement(
        what,
        problem,
        limit=option,
        value=list(value) if isinstance(value, tuple) else value,
        config_source=limits.config_source(option),
        forbidden=forbidden,
    )


def describe_missing(unmet: Collection[UnmetRequirement], of: str = "plan") -> Problem:
    """Describe unmet requirements as one problem."""
    first = next(iter(unmet))
    if len(unmet) == 1:
        at = f" Set by `{first.config_source}`." if first.config_source else ""
        return Problem(first.problem.reason, first.problem.remedy + at)
    listed = " ".join(_with_option(one) for one in list(unmet)[:MAX_DESCRIBED])
    more = f" And {len(unmet) - MAX_DESCRIBED:,} more." if len(unmet) > MAX_DESCRIBED else ""
    missing = count(len(unmet), "requirement")
    return Problem(f"This {of} can't be confirmed yet: {missing} are missing.", listed + more)


def _with_option(one: UnmetRequirement) -> str:
    return f"{one.problem.reason} (`{one.config_source}`)" if one.config_source else one.problem.reason
