"""Differences of a DAG version from the one that a plan depends on, as far as they matter to the plan."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.core.dag_structure import (
    END_DATE,
    NOT_THERE,
    OF_DAG,
    START_DATE,
    WHOLE_TASK,
    Difference,
    Structure,
    differences,
    unpack,
)
from safe_clear_plugin.core.drift import DriftCode, DriftedRow
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.tables import plan_run


def drifted_attributes(plan: PlanSummary, kept: str, latest: Version, session: Session) -> list[DriftedRow]:
    """Return what differs in the latest version from the structure that was kept with the plan."""
    before = unpack(kept)
    found = [
        one
        for one in differences(before, latest.structure)
        if one.attribute not in (START_DATE, END_DATE) or _is_between(plan, one, before, session)
    ]
    return [_drifted(plan.dag_id, one) for one in found]


def _is_between(plan: PlanSummary, dates: Difference, before: Structure, session: Session) -> bool:
    """Whether a run lies between two start dates, or two end dates: to all others they are the same.

    Many DAGs have a start date of some time ago, another one at each parse.
    """
    known = sorted(datetime.fromisoformat(date) for date in (dates.before, dates.now) if date)
    is_start = dates.attribute == START_DATE
    # No start is before all runs, and no end behind them.
    first = known[0] if len(known) == 2 or not is_start else None
    last = known[-1] if len(known) == 2 or is_start else None
    runs: Any = plan_run
    conditions: list[ColumnElement[bool]] = [plan_run.c.plan_id == UUID(plan.id)]
    if before[dates.task_id].get("depends_on_past"):
        # A task waits for that of an earlier run, which the plan need not have.
        runs, conditions = dag_run, [dag_run.c.dag_id == plan.dag_id]
    date = runs.c.logical_date
    if first is not None:
        conditions.append(date >= first if is_start else date > first)
    if last is not None:
        conditions.append(date < last if is_start else date <= last)
    return session.execute(select(runs.c.run_id).where(*conditions).limit(1)).first() is not None


def _drifted(dag_id: str, one: Difference) -> DriftedRow:
    sides = (one.before_text, one.now_text)
    if one.task_id == OF_DAG:
        code = DriftCode.DAG_ATTRIBUTE
        return DriftedRow("dag_version", code, *sides, dag_id=dag_id, attribute=one.attribute)
    whole = one.attribute == WHOLE_TASK
    if whole:
        code = DriftCode.TASK_GONE if one.now == NOT_THERE else DriftCode.TASK_ADDED
    else:
        code = DriftCode.TASK_ATTRIBUTE
    attribute = None if whole else one.attribute
    return DriftedRow("dag_version", code, *sides, task_id=one.task_id, dag_id=dag_id, attribute=attribute)
