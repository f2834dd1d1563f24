"""Pausing the DAG of a plan before its undo, so that no further task instance starts in the meantime."""

from __future__ import annotations

from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.airflow_api.dag import pausing
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused


def pause_dag(plan: PlanSummary, actor: Actor) -> None:
    """Pause the DAG of the plan; a paused DAG stays paused.

    :raises Refused: 409 when Airflow does not know the DAG any more, or Safe Clear does not know this Airflow
    """
    compatibility.require_supported()
    with new_session() as session:
        try:
            paused = pausing.pause(plan.dag_id, session)
        except LookupError:
            raise Refused(
                409, Problem(f"{plan.dag_id} is no longer in Airflow.", "There is nothing to pause.")
            ) from None
        if paused:
            entry = audit_log.Entry(audit_log.PAUSE_EVENT, plan, "", actor, {"is_paused": True})
            audit_log.record_decision(entry, session)


def is_paused(plan: PlanSummary) -> bool | None:
    """Whether the DAG of the plan is paused; ``None`` where there is no such DAG any more."""
    with new_session() as session:
        return pausing.is_paused(plan.dag_id, session)
