"""Drafts: unconfirmed plans of one person, often replaced by another plan."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services import retention
from safe_clear_plugin.services.change_set_members import require_single
from safe_clear_plugin.storage.plans import drafts


def discard_draft(plan: PlanSummary, actor: Actor, now: datetime) -> None:
    """Remove a plan of the actor's own that nobody confirmed or was asked to approve.

    :raises Refused: 409 for any other plan, and for a plan of a change set
    """
    require_single(plan)
    with new_session() as session:
        discarded = drafts.discard(UUID(plan.id), actor, retention.long_expired(now), session)
    if not discarded:
        raise Refused(
            409,
            Problem(
                "This plan isn't a draft of yours: someone else made it, or it was confirmed or sent for "
                "approval.",
                "Nothing was removed.",
            ),
        )
    retention.clean_up_beside(now)
