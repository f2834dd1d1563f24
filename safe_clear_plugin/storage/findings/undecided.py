"""Planned task instances about which nothing is decided yet, and what a decision makes of a trigger rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, case, or_

from safe_clear_plugin.core.effects import PENDING_EFFECTS
from safe_clear_plugin.core.outcomes import Outcome, OutcomeReason
from safe_clear_plugin.storage.tables import plan_task_instance

rows_ = plan_task_instance


def is_undecided(mine: FromClause, plan_id: UUID) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on planned task instances that have no state yet, nor a predicted one."""
    yield mine.c.plan_id == plan_id
    yield mine.c.effect.in_(PENDING_EFFECTS)
    yield mine.c.foreseen_state.is_(None)
    yield or_(mine.c.after_state.is_(None), mine.c.after_state == "restarting")


def unless_decided(state: ColumnElement[Any], reason: OutcomeReason) -> dict[str, ColumnElement[Any]]:
    """Return outcome and reason of what a trigger rule ends, unless a decision says otherwise in this round.

    The scheduler evaluates both in an order that differs from process to process, and the last one stays.
    """
    either = and_(
        rows_.c.outcome_reason == OutcomeReason.ALREADY_SKIPPED.value, state != Outcome.SKIPPED.value
    )
    return {
        "outcome": case((either, Outcome.UNKNOWN.value), else_=state),
        "outcome_reason": case((either, OutcomeReason.EITHER_RULE.value), else_=reason.value),
    }
