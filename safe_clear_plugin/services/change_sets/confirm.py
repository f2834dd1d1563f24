"""Confirming a change set: checks the caller's rights, and the requirements of all its plans together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet, fingerprint_of
from safe_clear_plugin.core.change_set_confirmation import (
    SetConfirmation,
    SetRequirements,
    set_requirements,
    unmet_of_set,
)
from safe_clear_plugin.core.confirmation import UnmetRequirement
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.plan import ShownStatus
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.waves import ALL_AT_ONCE, Pace
from safe_clear_plugin.services.change_sets.claim import claim_set, set_claim_error
from safe_clear_plugin.services.change_sets.stored import get_change_set
from safe_clear_plugin.services.clear.confirm import Unconfirmed, requirements_for
from safe_clear_plugin.services.clear.wave_choice import require_future_time, require_same_pace
from safe_clear_plugin.services.wake_up import wake_up


def set_requirements_for(of: ChangeSet, session: Session) -> SetRequirements:
    """Return the requirements of the set, from its plans' rows and the current options."""
    plans = [requirements_for(plan, session) for plan in of.plans]
    return set_requirements(of, plans, config.limits())


def unmet_without_set_confirmation(of: ChangeSet, actor_id: str, session: Session) -> list[UnmetRequirement]:
    """Return the requirements that the actor must still meet to confirm the set; none unless it is ready."""
    if not of.is_ready:
        return []
    required = set_requirements_for(of, session)
    unmet = list(unmet_of_set(of, required, SetConfirmation(), actor_id))
    return [*unmet, *_unmet_pace(of, is_chosen=False)]


def confirm_change_set(
    of: ChangeSet,
    fingerprint: str,
    given: SetConfirmation,
    actor: Actor,
    now: datetime,
    *,
    pace: Pace = ALL_AT_ONCE,
) -> ChangeSet:
    """Have a driver clear all plans of the set in the actor's name, and return the updated set.

    All plans are claimed, and all compared with the database, in one transaction: if one of them cannot be
    cleared as shown, none is. A request that is sent again changes nothing. The caller has checked
    that the actor may clear each DAG. ``pace`` has the waves, if they are chosen.

    :raises Unconfirmed: 422, or 403 when a second person must confirm, with all unmet requirements
    :raises Refused: 409 when it is not what was shown, was applied, or one of its plans drifted, naming the
        DAG; 410 when it expired
    """
    compatibility.require_supported()
    shown = fingerprint_of(plan.fingerprint for plan in of.plans)
    if fingerprint != of.fingerprint or shown != of.fingerprint:
        raise Refused(
            409,
            Problem("This is not the change set that you previewed.", "Open it and review it again."),
        )
    if of.is_ready:
        of = _claimed(of, given, actor, now, pace)
    if of.applied_by != actor.id or of.shown_status(now) not in GOES_ON_OR_DONE:
        raise set_claim_error(of, now)
    if of.is_applying:
        require_same_pace(of.paced_plan, pace)
        wake_up()
    return of


GOES_ON_OR_DONE = (ShownStatus.APPLYING, ShownStatus.INTERRUPTED, ShownStatus.APPLIED)


def _claimed(of: ChangeSet, given: SetConfirmation, actor: Actor, now: datetime, pace: Pace) -> ChangeSet:
    """Claim a set that is ready, if all its requirements are met, and return the updated set."""
    if of.shown_status(now) == ShownStatus.EXPIRED:
        raise set_claim_error(of, now)
    require_future_time(pace.waves, now)
    asked = _confirmed(of, given, actor, pace)
    # The recorded reason is the author's, which the second person has read.
    reason = of.reason if asked.approval else given.reason
    claim_set(of, reason, actor, now, asked=asked, pace=pace)
    return get_change_set(of.id)


def _confirmed(of: ChangeSet, given: SetConfirmation, actor: Actor, pace: Pace) -> SetRequirements:
    """Return the requirements of the set, once all of them are met.

    :raises Unconfirmed: with the unmet requirements
    """
    with new_session() as session:
        asked = set_requirements_for(of, session)
    unmet = unmet_of_set(of, asked, given, actor.id)
    if missing := (*unmet, *_unmet_pace(of, is_chosen=pace.is_chosen)):
        raise Unconfirmed(missing, "change set")
    return asked


def _unmet_pace(of: ChangeSet, *, is_chosen: bool) -> Iterator[UnmetRequirement]:
    """Yield the requirement that a large set must choose its waves, if large plans go in waves by default."""
    above = config.canary_above()
    if not is_chosen and 0 < above < of.task_instances:
        problem = Problem(
            f"Above {count(above, 'task instance')} you must say how fast a change set is cleared.",
            'Send `waves`, or `"waves": {"all_at_once": true}`.',
            "waves",
        )
        source = f"[{config.SECTION}] canary_above = {above}"
        yield UnmetRequirement("waves", problem, limit="canary_above", value=above, config_source=source)
