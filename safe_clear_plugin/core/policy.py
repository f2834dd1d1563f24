"""What no selection may ask for, and what a plan asks of whoever confirms it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_text import count
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.selection import Selection

MANY = 5
"""Things missing that a sentence names before it only counts them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The options that bound a clear; a number of 0 or less never takes effect."""

    confirm_above: int = 0
    max_task_instances: int = 0
    require_reason: bool = False
    protected: tuple[str, ...] = ()
    approve_above: int = 0

    def set_in(self, option: str) -> str:
        """Return the option as it stands in ``airflow.cfg``."""
        value = getattr(self, option)
        written = " ".join(value) if isinstance(value, tuple) else str(value)
        return f"[safe_clear] {option} = {written}" if written else f"[safe_clear] {option}"


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody who confirms a plan says."""

    reason: str = ""
    confirm_dag_id: str = ""
    acknowledge: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Demands:
    """What a plan asks of whoever confirms it, by the options as they are now."""

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
class Missing:
    """One thing for want of which a plan is not confirmed, and the option that asks for it.

    ``what`` is a field of the confirmation, ``approval``, or the code of a finding that refuses the plan.
    """

    what: str
    problem: Problem
    limit: str | None = None
    value: Any = None
    set_in: str | None = None
    forbidden: bool = False
    """Whether it is the person who may not, whatever else they give."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "what": self.what,
            "limit": self.limit,
            "value": self.value,
            "set_in": self.set_in,
            "reason": self.problem.reason,
            "remedy": self.problem.remedy,
        }


def check(selection: Selection) -> Iterator[Problem]:
    """Yield what is wrong with a selection as such, before any DAG or run is looked at."""
    if not selection.has_dates and not selection.run_id:
        yield Problem(
            "No dates or runs are chosen. You can't clear every run at once.",
            "Choose a date range, or list run ids.",
            "date_from",
        )
    if selection.date_from and selection.date_to and selection.date_from > selection.date_to:
        yield Problem("“From” is later than “To”.", "Swap the two dates, or correct one.", "date_to")
    if selection.map_index is not None and not selection.task_regex:
        yield Problem(
            "A map index needs one task, but no task is chosen.",
            "Enter a task regex that matches one mapped task, or leave the map index empty.",
            "map_index",
        )


def demands(plan: PlanSummary, limits: Limits, refused_now: Sequence[Finding]) -> Demands:
    """Return what a plan asks for.

    What refused it when it was made still does; ``refused_now`` are the limits that it meets today.
    """
    now = {finding.code for finding in refused_now}
    stored = [found for found in plan.findings if found.level == "refuse" and found.code not in now]
    return Demands(
        limits=limits,
        refused=(*refused_now, *stored),
        acknowledge=tuple(finding for finding in plan.findings if finding.level == "acknowledge"),
        dag_id=_above(plan.task_instances, limits.confirm_above),
        reason=limits.require_reason,
        approval=_above(plan.task_instances, limits.approve_above),
    )


def _above(number: int, limit: int) -> bool:
    return 0 < limit < number


def missing(plan: PlanSummary, asked: Demands, given: Given, actor_id: str) -> Iterator[Missing]:
    """Yield what keeps this person from confirming the plan with what they give."""
    for finding in asked.refused:
        yield _refusal(finding, asked.limits)
    if asked.approval:
        yield from _approval(plan, asked.limits, actor_id)
    for finding in asked.acknowledge:
        if finding.code not in given.acknowledge:
            yield Missing(
                "acknowledge",
                Problem(f"Not acknowledged: {finding.title}.", "Read it, then tick its box.", "acknowledge"),
                value=finding.code,
            )
    if asked.reason and not (given.reason or (asked.approval and plan.reason)):
        yield _by_option(
            asked.limits,
            "require_reason",
            "reason",
            Problem("A reason is required.", "Enter why the task instances are cleared.", "reason"),
        )
    if given.confirm_dag_id and given.confirm_dag_id != plan.dag_id:
        yield _by_option(
            asked.limits,
            "confirm_above",
            "confirm_dag_id",
            Problem(f"This plan is for {plan.dag_id}.", "Type exactly this Dag id.", "confirm_dag_id"),
        )
    elif asked.dag_id and not given.confirm_dag_id:
        yield _by_option(
            asked.limits,
            "confirm_above",
            "confirm_dag_id",
            Problem(
                f"Above {count(asked.limits.confirm_above, 'task instance')} you must type the Dag id, "
                f"and this plan has {plan.task_instances:,}.",
                f"Type {plan.dag_id}.",
                "confirm_dag_id",
            ),
        )


def missing_to_ask(asked: Demands, reason: str) -> Iterator[Missing]:
    """Yield what keeps the author of a plan from asking for a second person."""
    for finding in asked.refused:
        yield _refusal(finding, asked.limits)
    if not reason:
        problem = Problem(
            "A reason is required to request approval.", "Enter why it must be cleared.", "reason"
        )
        yield _by_option(asked.limits, "approve_above", "reason", problem)


NO_DECLINE_REASON = Missing(
    "reason", Problem("A reason is required to decline.", "Enter a reason for the author.", "decline_reason")
)


def _refusal(finding: Finding, limits: Limits) -> Missing:
    problem = Problem(f"{finding.title}.", finding.remedy or finding.detail)
    option = REFUSED_BY.get(finding.code)
    return _by_option(limits, option, finding.code, problem) if option else Missing(finding.code, problem)


REFUSED_BY = {
    "too_many": "max_task_instances",
    "protected": "protected",
    "protected_unreadable": "protected",
}
"""The option behind each finding that refuses a plan by a limit."""


def _approval(plan: PlanSummary, limits: Limits, actor_id: str) -> Iterator[Missing]:
    above = f"Plans above {count(limits.approve_above, 'task instance')} need a second person"
    if actor_id == plan.created_by:
        problem = Problem(
            f"{above}, and you are the author of this one ({plan.task_instances:,}).",
            "Request approval, and share the plan's link with someone else who can clear the Dag.",
        )
        yield _by_option(limits, "approve_above", "approval", problem, forbidden=True)
    elif plan.approval_asked_at is None:
        problem = Problem(
            f"{above}, and {plan.created_by_name} has not requested approval yet.",
            "The author can request approval on the plan's page.",
        )
        yield _by_option(limits, "approve_above", "approval", problem)


def _by_option(
    limits: Limits, option: str, what: str, problem: Problem, *, forbidden: bool = False
) -> Missing:
    value = getattr(limits, option)
    return Missing(
        what,
        problem,
        limit=option,
        value=list(value) if isinstance(value, tuple) else value,
        set_in=limits.set_in(option),
        forbidden=forbidden,
    )


def summed_up(found: Collection[Missing]) -> Problem:
    """Return what is missing as one problem."""
    first = next(iter(found))
    if len(found) == 1:
        at = f" Set by `{first.set_in}`." if first.set_in else ""
        return Problem(first.problem.reason, first.problem.remedy + at)
    listed = " ".join(_with_option(one) for one in list(found)[:MANY])
    more = f" And {len(found) - MANY:,} more." if len(found) > MANY else ""
    return Problem(
        f"This plan can't be confirmed yet: {count(len(found), 'requirement')} are missing.", listed + more
    )


def _with_option(one: Missing) -> str:
    return f"{one.problem.reason} (`{one.set_in}`)" if one.set_in else one.problem.reason
