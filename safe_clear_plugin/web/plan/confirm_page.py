"""What a plan's page asks of whoever confirms or approves it, and the page of a plan that was declined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urljoin

from flask import request
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core import plan_text, policy
from safe_clear_plugin.core.confirmation_summary import Extent, Order, order_of
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.policy import Demands, Given, Missing
from safe_clear_plugin.services.clear.confirmation import demands_of
from safe_clear_plugin.storage.findings.task_counts import TouchedTask
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.identity import caller

Role = Literal["expired", "look", "refused", "ask", "waiting", "unasked", "approve", "confirm"]
"""What the caller can do with a ready plan: its author may have to ``ask`` a second person and then is
``waiting``; anybody else may ``approve`` it once that was asked for, while before it is ``unasked``."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody gave who was refused, and what was missing."""

    given: Given
    missing: tuple[Missing, ...]


NO_ATTEMPT = Attempt(Given(), ())


@dataclass(frozen=True, slots=True)
class Confirming:
    """What the page asks for, and what it was given the last time."""

    role: Role
    order: Order
    demands: Demands
    given: Given
    errors: dict[str, list[str]]
    """What was missing, by the field where it is to be said."""
    address: str
    """Where a second person finds the plan."""

    @property
    def open(self) -> bool:
        """Whether the caller may confirm the plan, once all that it asks for is given."""
        return self.role in ("approve", "confirm")

    @property
    def left(self) -> list[str]:
        """What has to be done yet, each in a word or two."""
        parts = []
        if boxes := self.demands.acknowledge if self.open else ():
            ticked = sum(finding.code in self.given.acknowledge for finding in boxes)
            open_ones = len(boxes) - ticked
            parts += [f"Acknowledge {plan_text.count(open_ones, 'finding')}"] if open_ones else []
        if self.reason_required and not self.given.reason:
            parts.append("Enter a reason")
        typed = self.given.confirm_dag_id and not self.errors["confirm_dag_id"]
        if self.open and self.demands.dag_id and not typed:
            parts.append("Type the Dag id")
        return parts

    @property
    def reason_required(self) -> bool:
        """Whether the page has a field for the reason, and it may not stay empty."""
        return self.role == "ask" or (self.role == "confirm" and self.demands.reason)


def confirm_context(
    plan: PlanSummary,
    extent: Extent,
    tasks: Sequence[TouchedTask],
    attempt: Attempt,
    *,
    may_clear: bool,
    now: datetime,
    session: Session,
) -> dict[str, Any]:
    """Return what the page of a ready plan says and asks of the caller, for the template.

    Its findings are those of the stored plan, and before them the limits that it meets only since.
    """
    demands = demands_of(plan, session)
    known = {finding.code for finding in plan.findings}
    newly = tuple(finding for finding in demands.refused if finding.code not in known)
    shown = Confirming(
        role=role_of(plan, demands, permissions.actor(caller().user).id, now, may_clear=may_clear),
        order=order_of(plan, extent, sum(task.cleared > 0 for task in tasks)),
        demands=demands,
        given=attempt.given,
        errors=_errors(attempt.missing),
        address=_address(plan),
    )
    return {
        "plan": replace(plan, findings=(*newly, *plan.findings)),
        "confirming": shown,
        "may_confirm": shown.open,
        "acknowledged": set(attempt.given.acknowledge),
        "missing": attempt.missing,
    }


def _errors(missing: Sequence[Missing]) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {"reason": [], "confirm_dag_id": [], "decline_reason": []}
    for one in missing:
        if one.problem.field in errors:
            errors[one.problem.field].append(str(one.problem))
    return errors


def role_of(plan: PlanSummary, demands: Demands, actor_id: str, now: datetime, *, may_clear: bool) -> Role:
    """Say what somebody can do with a ready plan."""
    if plan.expired(now):
        return "expired"
    if not may_clear:
        return "look"
    if demands.refused:
        return "refused"
    if not demands.approval:
        return "confirm"
    asked = plan.approval_asked_at is not None
    if actor_id == plan.created_by:
        return "waiting" if asked else "ask"
    return "approve" if asked else "unasked"


def _address(plan: PlanSummary) -> str:
    base = config.base_url()
    return urljoin(base if "://" in base else request.host_url, templating.url("plan", plan_id=plan.id))


def required_json(plan: PlanSummary, session: Session) -> list[dict[str, Any]]:
    """Return what a confirmation by the caller would lack that says nothing."""
    if plan.status != "ready":
        return []
    actor_id = permissions.actor(caller().user).id
    asked = demands_of(plan, session)
    return [one.to_json() for one in policy.missing(plan, asked, Given(), actor_id)]


def declined_page(plan: PlanSummary, context: dict[str, Any]) -> str:
    """Render what became of a plan that was declined or withdrawn."""
    headline = plan_text.headline(plan.selection, plan.task_instances, plan.dag_runs)
    return templating.render("declined.html", headline=headline, **context)
