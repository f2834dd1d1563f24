"""Deadlines that count from when a dag run was queued: a clear has to move them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.models import taskinstance as airflow_taskinstance
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline, ReferenceModels
from airflow.models.deadline_alert import DeadlineAlert
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

# Airflow's own step of a clear. Without it nothing can fail.
_recalculate = getattr(airflow_taskinstance, "_recalculate_dagrun_queued_at_deadlines", None)


def runs_that_break_clear(run_pks: Select[Any], now: datetime, session: Session) -> int:
    """Count those of the selected dag runs on which ``clear_task_instances`` ends with an error.

    Some releases store the interval of a deadline as a serialized object and read it as a number when they
    clear. One run of each deadline alert is tried with Airflow's own function; its changes are discarded.
    """
    if _recalculate is None:
        return 0
    counts_from_queued = DeadlineAlert.reference[ReferenceModels.REFERENCE_TYPE_FIELD].as_string()
    alerts = session.execute(
        select(DeadlineAlert.id, func.min(Deadline.dagrun_id), func.count(Deadline.dagrun_id.distinct()))
        .join(DeadlineAlert, Deadline.deadline_alert_id == DeadlineAlert.id)
        .where(
            Deadline.dagrun_id.in_(run_pks),
            ~Deadline.missed,
            counts_from_queued == ReferenceModels.DagRunQueuedAtDeadline.__name__,
        )
        .group_by(DeadlineAlert.id)
    ).all()
    return sum(runs for _, run_pk, runs in alerts if _breaks(run_pk, now, session))


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
