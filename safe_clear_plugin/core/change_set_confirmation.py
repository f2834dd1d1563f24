"""Requirements for the person who confirms a change set: the limits are for all its plans together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.confirmation import (
    Requirements,
    UnmetRequirement,
    by_option,
    is_above,
    refusal_of,
)
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.limits import Limits
from safe_clear_plugin.core.problems import Problem

Acknowledged = tuple[str, str]
"""A DAG id, and the code of a finding of its plan."""

TOO_MANY = "too_many"
TYPED = "confirm_task_instances"


@dataclass(frozen=True, slots=True)
class SetConfirmation:
    """The values that a person gives to confirm a change set."""

    reason: str = ""
    confirm_task_instances: int | None = None
    """The number of task instances, typed."""
    acknowledge: tuple[Acknowledged, ...] = ()


@dataclass(frozen=True, slots=True)
class SetRequirements:
    """The requirements of a change set, by the current options."""

    limits: Limits
    refused: tuple[tuple[str, Finding], ...]
    """Findings that keep it from being confirmed at all, each with its DAG."""
    acknowledge: tuple[tuple[str, Finding], ...]
    is_too_large: bool
    number: bool
    """Whether the number of task instances must be typed."""
    reason: bool
    approval: bool
    """Whether somebody other than its author must apply it."""

    def acknowledged_of(self, dag_id: str) -> tuple[str, ...]:
        """Return the codes that are acknowledged in the plan of a DAG."""
        return tuple(finding.code for of, finding in self.acknowledge if of == dag_id)


def set_requirements(of: ChangeSet, plans: Sequence[Requirements], limits: Limits) -> SetRequirements:
    """Return the requirements of a set; ``plans`` are those of its plans, in their order."""
    of_plans = list(zip(of.dag_ids, plans, strict=True))
    return SetRequirements(
        limits=limits,
        # If one plan alone is too large, the refusal is about the set.
        refused=tuple(
            (dag_id, one) for dag_id, plan in of_plans for one in plan.refused if one.code != TOO_MANY
        ),
        acknowledge=tuple((dag_id, one) for dag_id, plan in of_plans for one in plan.acknowledge),
        is_too_large=is_above(of.task_instances, limits.max_task_instances),
        number=is_above(of.task_instances, limits.confirm_above),
        reason=limits.require_reason,
        approval=is_above(of.task_instances, limits.approve_above),
    )


def unmet_refusals(of: ChangeSet, required: SetRequirements) -> Iterator[UnmetRequirement]:
    """Yield the requirements that nobody can meet."""
    limits = required.limits
    if required.is_too_large:
        problem = Problem(
            f"{count(of.task_instances, 'task instance')} are too many: "
            f"one clear can take {limits.max_task_instances:,}.",
            "Choose fewer Dags, runs, tasks or states, and clear in several parts.",
        )
        yield by_option(limits, "max_task_instances", TOO_MANY, problem)
    for dag_id, finding in required.refused:
        yield _of_dag(dag_id, refusal_of(finding, limits))


def unmet_of_set(
    of: ChangeSet, required: SetRequirements, given: SetConfirmation, actor_id: str
) -> Iterator[UnmetRequirement]:
    """Yield the requirements that this person does not meet with the given values."""
    yield from unmet_refusals(of, required)
    if required.approval:
        yield from _approval(of, required.limits, actor_id)
    for dag_id, finding in required.acknowledge:
        if (dag_id, finding.code) not in given.acknowledge:
            problem = Problem(
                f"Not acknowledged: {dag_id}: {finding.title}.", "Read it, then tick its box.", "acknowledge"
            )
            yield UnmetRequirement("acknowledge", problem, value=[dag_id, finding.code])
    if required.reason and not (given.reason or (required.approval and of.reason)):
        problem = Problem("A reason is required.", "Enter why the task instances are cleared.", "reason")
        yield by_option(required.limits, "require_reason", "reason", problem)
    yield from _number(of, required, given)


def _number(of: ChangeSet, required: SetRequirements, given: SetConfirmation) -> Iterator[UnmetRequirement]:
    number, limits = of.task_instances, required.limits
    typed = given.confirm_task_instances
    if typed is not None and typed != number:
        problem = Problem(
            f"This change set clears {count(number, 'task instance')}, not {typed:,}.",
            "Type exactly this number.",
            TYPED,
        )
        yield by_option(limits, "confirm_above", TYPED, problem)
    elif required.number and typed is None:
        problem = Problem(
            f"Above {count(limits.confirm_above, 'task instance')} you must type their number, "
            f"and this change set has {number:,}.",
            f"Type {number}.",
            TYPED,
        )
        yield by_option(limits, "confirm_above", TYPED, problem)


def unmet_to_request_set_approval(
    of: ChangeSet, required: SetRequirements, reason: str
) -> Iterator[UnmetRequirement]:
    """Yield the requirements that the author of a set has not met to request approval."""
    yield from unmet_refusals(of, required)
    if not reason:
        problem = Problem(
            "A reason is required to request approval.", "Enter why it must be cleared.", "reason"
        )
        yield by_option(required.limits, "approve_above", "reason", problem)


def _approval(of: ChangeSet, limits: Limits, actor_id: str) -> Iterator[UnmetRequirement]:
    above = f"Change sets above {count(limits.approve_above, 'task instance')} need a second person"
    if of.is_author(actor_id):
        problem = Problem(
            f"{above}, and you are the author of this one ({of.task_instances:,}).",
            "Request approval, and share its link with someone else who can clear all its Dags.",
        )
        yield by_option(limits, "approve_above", "approval", problem, forbidden=True)
    elif not of.is_approval_asked:
        problem = Problem(
            f"{above}, and {of.created_by_name} has not requested approval yet.",
            "The author can request approval.",
        )
        yield by_option(limits, "approve_above", "approval", problem)


def _of_dag(dag_id: str, unmet: UnmetRequirement) -> UnmetRequirement:
    problem = Problem(f"{dag_id}: {unmet.problem.reason}", unmet.problem.remedy)
    return UnmetRequirement(
        unmet.what, problem, limit=unmet.limit, value=unmet.value, config_source=unmet.config_source
    )
