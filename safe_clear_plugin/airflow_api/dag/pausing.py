"""Pausing a DAG, as Airflow's own switch does: the scheduler queues no task instance of a paused DAG."""

from __future__ import annotations

from airflow.models.dag import DagModel
from sqlalchemy.orm import Session


def is_paused(dag_id: str, session: Session) -> bool | None:
    """Whether a DAG is paused; ``None`` where there is no such DAG."""
    model = session.get(DagModel, dag_id)
    return bool(model.is_paused) if model else None


def pause(dag_id: str, session: Session) -> bool:
    """Pause a DAG as ``PATCH /dags/<id>`` does. Returns whether it was not paused before.

    :raises LookupError: when there is no such DAG
    """
    model = session.get(DagModel, dag_id, with_for_update=True)
    if model is None:
        raise LookupError(dag_id)
    was_paused = bool(model.is_paused)
    model.is_paused = True
    session.flush()
    return not was_paused
