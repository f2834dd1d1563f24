"""Backfills whose runs the scheduler no longer starts."""

from __future__ import annotations

import shlex
from datetime import datetime, timezone

from airflow.models.backfill import Backfill
from sqlalchemy import Select, exists, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.core.states import UNFINISHED_RUN_STATES


def ended_backfills(dag_id: str, session: Session) -> list[int]:
    """Return the paused backfills of a DAG that nobody can unpause.

    ``get_queued_dag_runs_to_set_running`` ignores the queued runs of a paused backfill. One that is completed
    cannot be unpaused, and ``_mark_backfills_complete`` completes one without an unfinished run.
    """
    unfinished = exists().where(
        # Of the DAG too, for which there is an index.
        dag_run.c.dag_id == dag_id,
        dag_run.c.backfill_id == Backfill.id,
        dag_run.c.state.in_(UNFINISHED_RUN_STATES),
    )
    query = select(Backfill.id).where(
        Backfill.dag_id == dag_id,
        Backfill.is_paused,
        or_(Backfill.completed_at.is_not(None), ~unfinished),
    )
    return list(session.scalars(query.order_by(Backfill.id)))


def runs_of_backfills(dag_id: str, backfills: list[int]) -> Select[tuple[int]]:
    """Select the primary keys of the runs of some backfills."""
    return select(dag_run.c.id).where(dag_run.c.dag_id == dag_id, dag_run.c.backfill_id.in_(backfills))


def reprocess_command(dag_id: str, first: datetime, last: datetime) -> str:
    """Return the command that runs the runs between two logical dates again, quoted for a shell."""
    dates = (date.astimezone(timezone.utc).isoformat() for date in (first, last))
    options = ("--dag-id", "--from-date", "--to-date", "--reprocess-behavior")
    values = zip(options, (dag_id, *dates, "completed"), strict=True)
    return shlex.join(["airflow", "backfill", "create", *(f"{name}={value}" for name, value in values)])
