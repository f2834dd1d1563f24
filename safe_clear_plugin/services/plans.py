"""Reads stored plans for a page or a program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.core.confirmation_summary import PlanExtent
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_filters import PlanFilter, RowFilter
from safe_clear_plugin.core.plan_records import BatchRecord, TouchedTask
from safe_clear_plugin.core.planned_rows import PlannedRun, PlannedTaskInstance, StateChange
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services.lookup import find_by_id
from safe_clear_plugin.storage.findings import task_counts
from safe_clear_plugin.storage.plans import plan_counts, plan_list, plan_reader, plan_rows


def plan_not_found() -> Refused:
    """Return the refusal for a plan that there is not, or that the caller may not see."""
    return Refused(404, Problem("This plan doesn't exist.", "It may have expired."))


def get_plan(plan_id: str) -> PlanSummary:
    """Return a plan as it is now.

    :raises Refused: 404 when it is gone, or ``plan_id`` is no id of a plan
    """
    return find_by_id(plan_id, plan_reader.get, plan_not_found)


@dataclass(frozen=True, slots=True)
class ListedPlans:
    """A page of the plans that a user may see."""

    dag_ids: list[str]
    """Those DAGs with plans that the user may see."""
    plans: list[PlanSummary]
    total: int
    offset: int
    """Of the first of them; 0 where there are not as many as was asked for."""
    complete: bool
    """Whether there was time to ask for every DAG that has plans; those with the newest plans come first."""


def list_plans(
    wanted: PlanFilter, dag_id: str, user: permissions.BaseUser, session: Session, *, offset: int, limit: int
) -> ListedPlans:
    """Return the plans that the filter lets through, of ``dag_id`` or all DAGs that the user may read."""
    readable = permissions.readable_dags(plan_list.planned_dags(session, dag_id), user, session)
    wanted = replace(wanted, dags=readable.dags)
    total = plan_list.count_plans(wanted, session)
    offset = offset if offset < total else 0
    return ListedPlans(
        dag_ids=sorted({dag.dag_id for dag in readable.dags}),
        plans=plan_list.plans(wanted, session, offset=offset, limit=limit),
        total=total,
        offset=offset,
        complete=readable.complete,
    )


def state_changes(plan: PlanSummary, session: Session) -> list[StateChange]:
    """Count the plan's task instances by state before, state after and effect."""
    return plan_counts.state_changes(UUID(plan.id), session)


def map_index_label(plan: PlanSummary, session: Session) -> str:
    """Return the label that ``map_index_template`` makes of the selected map index; empty without one."""
    index = plan.selection.map_index
    if index is None or index < 0:
        return ""
    return plan_reader.selected_label(UUID(plan.id), index, session) or ""


def run_outcomes(plan: PlanSummary, session: Session) -> dict[str, int]:
    """Count the plan's dag runs by outcome."""
    return plan_counts.run_outcomes(UUID(plan.id), session)


def extent(plan: PlanSummary, session: Session) -> PlanExtent:
    """Return what the plan changes, and in which runs."""
    plan_id = UUID(plan.id)
    first, last = plan_reader.first_and_last_run(plan_id, session)
    return PlanExtent(
        plan_counts.state_changes(plan_id, session),
        plan_counts.run_state_changes(plan_id, session),
        first,
        last,
    )


def tasks(plan: PlanSummary, session: Session) -> list[TouchedTask]:
    """Return the tasks of the plan, sorted."""
    return task_counts.tasks(UUID(plan.id), session)


def days_with_runs(plan: PlanSummary, days: Iterable[date], session: Session) -> set[date]:
    """Return those of the days, in UTC, on which the plan has a dag run."""
    return plan_reader.days_with_runs(UUID(plan.id), days, session)


def runs(plan: PlanSummary, session: Session, *, offset: int = 0, limit: int) -> list[PlannedRun]:
    """Return a page of the plan's dag runs, in the order in which they are cleared."""
    return plan_reader.runs(UUID(plan.id), session, offset=offset, limit=limit)


def cleared_runs(plan: PlanSummary, session: Session, *, limit: int) -> list[PlannedRun]:
    """Return the first of the dag runs that have been cleared."""
    return plan_reader.runs(UUID(plan.id), session, limit=limit, only_cleared=True)


def batches(plan: PlanSummary, session: Session) -> list[BatchRecord]:
    """Return what the transactions of the plan did, in order."""
    return plan_list.batches(UUID(plan.id), session)


def task_instances(
    plan: PlanSummary, wanted: RowFilter, session: Session, *, offset: int, limit: int
) -> list[PlannedTaskInstance]:
    """Return a page of the plan's task instances, by run in clearing order, then by task."""
    return plan_reader.task_instances(UUID(plan.id), wanted, session, offset=offset, limit=limit)


def count_task_instances(plan: PlanSummary, wanted: RowFilter, session: Session) -> int:
    """Count the plan's task instances that a filter lets through."""
    return plan_reader.count_task_instances(UUID(plan.id), wanted, session)


def sorted_rows(
    plan: PlanSummary, wanted: RowFilter, sort: str, session: Session, *, offset: int, limit: int
) -> list[Row[Any]]:
    """Return a page of the plan's task instances with the columns of their runs, in an order."""
    return plan_rows.rows(UUID(plan.id), wanted, sort, session, offset=offset, limit=limit)


def stream_rows(
    plan: PlanSummary, wanted: RowFilter, sort: str, session: Session, *, limit: int
) -> Iterator[Row[Any]]:
    """Yield the same rows, some at a time from the database."""
    return plan_rows.stream(UUID(plan.id), wanted, sort, session, limit=limit)
