"""Finds out what the scheduler will make of the cleared runs."""

from __future__ import annotations

from safe_clear_plugin.airflow_api import dags
from safe_clear_plugin.core.findings import StartingFacts
from safe_clear_plugin.services.facts.context import PlanContext


def facts(plan: PlanContext) -> StartingFacts:
    """Read the DAG's own state."""
    model = dags.get_dag_model(plan.selection.dag_id, plan.session)
    return StartingFacts(
        dag_id=plan.selection.dag_id,
        dag_is_paused=bool(model and model.is_paused),
        dag_is_stale=bool(model and model.is_stale),
        runs_to_queue=sum(
            change.count for change in plan.run_changes if change.after == "queued" != change.before
        ),
    )
