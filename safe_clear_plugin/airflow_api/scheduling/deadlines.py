"""Deadlines that count from when a dag run was queued: a clear has to move them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow.models import taskinstance as airflow_taskinstance
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline, ReferenceModels
from airflow.models.deadline_alert import DeadlineAlert
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

_REFERENCE = DeadlineAlert.reference[ReferenceModels.REFERENCE_TYPE_FIELD].as_string()
_QUEUED_AT = ReferenceModels.DagRunQueuedAtDeadline.__name__

# Airflow's own step of a clear. Without it nothing can fail.
_recalculate = getattr(airflow_taskinstance, "_recalculate_dagrun_queued_at_deadlines", None)


def runs_that_break_clear(run_pks: Select[Any], now: datetime, session: Session) -> list[str]:
    """Return the ids of those selected dag runs on which ``clear_task_instances`` ends with an error.

    Some releases store the interval of a deadline as a serialized object and read it as a number when they
    clear. One run of each deadline alert is tried with Airflow's own function; its changes are discarded.
    """
    if _recalculate is None:
        return []
    is_moved = (Deadline.dagrun_id.in_(run_pks), ~Deadline.missed, _REFERENCE == _QUEUED_AT)
    alerts = session.execute(
        select(DeadlineAlert.id, func.min(Deadline.dagrun_id))
        .join(DeadlineAlert, Deadline.deadline_alert_id == DeadlineAlert.id)
        .where(*is_moved)
        .group_by(DeadlineAlert.id)
    ).all()
    breaking = [alert_id for alert_id, run_pk in alerts if _breaks(run_pk, now, session)]
    if not breaking:
        return []
    runs = (
        select(DagRun.run_id)
        .join(Deadline, Deadline.dagrun_id == DagRun.id)
        .join(DeadlineAlert, Deadline.deadline_alert_id == DeadlineAlert.id)
        .where(*is_moved, DeadlineAlert.id.in_(breaking))
        .group_by(DagRun.id, DagRun.run_id, DagRun.run_after)
    )
    return list(session.scalars(runs.order_by(DagRun.run_after, DagRun.id)))


@dataclass(frozen=True, slots=True)
class OpenDeadlines:
    """Dag runs with a deadline that is not missed."""

    runs: int = 0
    kept_runs: int = 0
    """Runs whose deadline a clear leaves where it is: it counts from something else than the queueing."""
    first_kept: datetime | None = None


NO_DEADLINES = OpenDeadlines()


def open_deadlines(run_pks: Select[Any], session: Session) -> OpenDeadlines:
    """Count those of the selected dag runs that have a deadline ahead of them after a clear."""
    kept = func.coalesce(_REFERENCE, "") != _QUEUED_AT
    row = session.execute(
        select(
            func.count(Deadline.dagrun_id.distinct()),
            func.count(Deadline.dagrun_id.distinct()).filter(kept),
            func.min(Deadline.deadline_time).filter(kept),
        )
        .outerjoin(DeadlineAlert, Deadline.deadline_alert_id == DeadlineAlert.id)
        .where(Deadline.dagrun_id.in_(run_pks), ~Deadline.missed)
    ).one()
    return OpenDeadlines(*row)


def _breaks(run_pk: int, now: datetime, session: Session) -> bool:
    assert _recalculate is not None
    with session.no_autoflush:
        try:
            _recalculate(session.get_one(DagRun, run_pk), now, session)
        except TypeError:
            return True
        finally:
            for changed in [one for one in session.dirty if isinstance(one, Deadline)]:
                session.expire(changed)
    return False
