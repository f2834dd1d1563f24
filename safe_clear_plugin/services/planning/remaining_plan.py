"""A new plan for what a stopped or stale one has not cleared."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from safe_clear_plugin.airflow_api.clear.audit_log import Actor
from safe_clear_plugin.airflow_api.dag import dag_versions
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.storage.clear import drift
from safe_clear_plugin.storage.plans import plan_reader


def make_rest_plan(plan: PlanSummary, actor: Actor, now: datetime) -> PlanSummary:
    """Plan the same selection again, in the runs that are not cleared and have not moved.

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
