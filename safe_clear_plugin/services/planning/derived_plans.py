"""Plans that are made from another one: for its remaining runs, without some rows, or with more."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from safe_clear_plugin.airflow_api.dag import dag_versions
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.core.selection import Exclusions, SuggestedField
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.storage.clear import drift
from safe_clear_plugin.storage.plans import plan_reader


def plan_remaining(plan: PlanSummary, actor: Actor, now: datetime) -> PlanSummary:
    """Plan the same selection again, in the runs that are neither cleared nor drifted.

    The runs are named, so that past and future bring no others in; relatives of a map index follow it as they
    did, however many runs are left.

    :raises Invalid: when there is no such run, or nothing to clear in them
    """
    compatibility.require_known_tables()
    plan_id = UUID(plan.id)
    with new_session() as session:
        latest = dag_versions.latest_version_id(plan.dag_id, session)
        moved = drift.drifted_run_ids(plan_id, plan.dag_id, session)
        left = [run.run_id for run in plan_reader.runs(plan_id, session) if run.applied_at is None]
    rest = [run_id for run_id in left if run_id not in moved]
    if not rest or latest is None:
        raise Invalid(
            Problem(
                "Every dag run in the plan has been cleared or has changed, so none is left.",
                "Preview the same selection again to see the current state.",
            )
        )
    named = replace(plan.selection, run_id=tuple(rest), include_past=False, include_future=False)
    if plan.selection.include_past or plan.selection.include_future:
        named = replace(named, date_from=None, date_to=None)
    if plan.selection.map_index is not None:
        named = replace(named, index_run_id=plan.selection.mapped_in)
    return make_plan(named, actor, now)


def can_plan_remaining(plan: PlanSummary) -> bool:
    """Whether a stale plan has runs that did not drift, as far as its reason says."""
    why = plan.stop_reason
    if why is None:
        return True
    return why.moved_in_runs_only and (not why.moved_runs or why.moved_runs < plan.dag_runs)


def plan_without(
    plan: PlanSummary, excluded: Exclusions, reason: str, actor: Actor, now: datetime
) -> PlanSummary:
    """Plan the same without some of it, and keep the reason that the author gave.

    :raises Refused: 422 when nothing is excluded
    :raises Invalid: when nothing is left to clear
    """
    if not excluded:
        raise Refused(
            422, Problem("Everything is ticked.", "Untick the rows to leave alone, then preview again.")
        )
    reason = reason or plan.reason_for_author(actor.id)
    return make_plan(plan.selection.without(excluded), actor, now, reason=reason)


def plan_with_field(plan: PlanSummary, field: SuggestedField, actor: Actor, now: datetime) -> PlanSummary:
    """Plan the same with a field of the selection switched on, and keep the reason that the author gave."""
    return make_plan(plan.selection.with_field(field), actor, now, reason=plan.reason_for_author(actor.id))
