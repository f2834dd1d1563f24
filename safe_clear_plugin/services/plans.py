"""Plans read back for a page or a program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.confirmation_summary import PlanExtent
from safe_clear_plugin.core.plan import PlannedRun, PlannedTaskInstance, PlanSummary, StateChange
from safe_clear_plugin.core.plan_filters import PlanFilter, RowFilter
from safe_clear_plugin.core.plan_records import BatchRecord, TouchedTask
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.storage.findings import task_counts
from safe_clear_plugin.storage.plans import plan_list, plan_reader, plan_rows


def plan_not_found() -> Refused:
    """Return the refusal for a plan that there is not, or that the caller may not see."""
    return Refused(404, Problem("This plan doesn't exist.", "It may have expired."))


def get_plan(plan_id: str) -> PlanSummary:
    """Return a plan as it is now.

    :raises Refused: 404 when it is gone, or ``plan_id`` is no id of a plan
    """
    try:
        key = UUID(hex=plan_id)
    except ValueError:
        raise plan_not_found() from None
    with new_session() as session:
        plan = plan_reader.get(key, session)
    if plan is None:
        raise plan_not_found()
    return plan


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
    return plan_reader.state_changes(UUID(plan.id), session)


def run_outcomes(plan: PlanSummary, session: Session) -> dict[str, int]:
    """Count the plan's dag runs by outcome."""
    return plan_reader.run_outcomes(UUID(plan.id), session)


def extent(plan: PlanSummary, session: Session) -> PlanExtent:
    """Return what the plan changes, and in which runs."""
    plan_id = UUID(plan.id)
    first, last = plan_reader.first_and_last_run(plan_id, session)
    return PlanExtent(
        plan_reader.state_changes(plan_id, session),
        plan_reader.run_state_changes(plan_id, session),
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
