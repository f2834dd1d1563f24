"""A DAG as its list in Airflow describes it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import Version, get_dag_model


@dataclass(frozen=True, slots=True)
class DagState:
    """A DAG as its list in Airflow describes it."""

    dag_id: str
    is_paused: bool
    is_stale: bool
    schedule: str
    schedule_in_words: str
    max_active_runs: int | None
    owners: str
    timezone: str
    version: int | None
    catchup: bool


def dag_state(dag_id: str, latest: Version | None, session: Session) -> DagState | None:
    """Describe a DAG; ``None`` when there is none."""
    model = get_dag_model(dag_id, session)
    if model is None:
        return None
    dag = latest.dag if latest else None
    return DagState(
        dag_id=dag_id,
        is_paused=bool(model.is_paused),
        is_stale=bool(model.is_stale),
        schedule=model.timetable_summary or "",
        schedule_in_words=model.timetable_description or "",
        max_active_runs=model.max_active_runs,
        owners=model.owners or "",
        timezone=str(getattr(dag.timezone, "name", None) or dag.timezone) if dag else "UTC",
        version=latest.number if latest else None,
        catchup=bool(dag.catchup) if dag else False,
    )
