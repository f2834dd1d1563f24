"""The history: plans, change sets and Airflow's own clears in one sorted list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    String,
    Uuid,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import logged_clears
from safe_clear_plugin.airflow_api.platform.airflow_tables import log
from safe_clear_plugin.core.history import WITH_AIRFLOW, HistoryFilter, HistoryKey, HistorySort
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary, TeamDag
from safe_clear_plugin.storage.plans.filters import belongs_to, touches
from safe_clear_plugin.storage.plans.plan_status import shown_set_status, shown_status
from safe_clear_plugin.storage.plans.plan_summary import select_plans, summary
from safe_clear_plugin.storage.rows import RUN_DATE, is_cleared_run
from safe_clear_plugin.storage.tables import change_set, plan, plan_batch, plan_run

AT: ColumnElement[Any] = func.coalesce(
    plan.c.applied_at, plan.c.declined_at, plan.c.approval_asked_at, plan.c.created_at
)
"""When a plan was confirmed, declined or sent to a second person; for a draft, when it was created."""
IS_DRAFT = and_(plan.c.status == PlanStatus.READY, plan.c.approval_asked_at.is_(None))
BY_NAME: ColumnElement[Any] = func.coalesce(plan.c.applied_by_name, plan.c.created_by_name)


def history(
    wanted: HistoryFilter, sort: HistorySort, session: Session, *, offset: int, limit: int
) -> list[HistoryKey]:
    """Return a page of the history."""
    both = union_all(*_parts(wanted)).subquery("history")
    column = both.c[sort.removeprefix("-")]
    ordered = column.desc() if sort.startswith("-") else column.asc()
    query = select(both).order_by(ordered, both.c.at.desc(), both.c.plan_id, both.c.set_id, both.c.log_id)
    rows = session.execute(query.offset(offset).limit(limit))
    return [HistoryKey(row.at, row.plan_id, row.log_id, row.set_id) for row in rows]


def count_history(wanted: HistoryFilter, session: Session) -> int:
    """Count the entries that the filter lets through."""
    both = union_all(*_parts(wanted)).subquery("history")
    return session.scalar(select(func.count()).select_from(both)) or 0


def count_clears(wanted: HistoryFilter, session: Session) -> tuple[int, int]:
    """Count the plans, and the rows of the audit log, that the filter lets through."""
    both = union_all(*_parts(wanted)).subquery("history")
    found = session.execute(select(func.count(both.c.plan_id), func.count(both.c.log_id))).one()
    return found[0], found[1]


def _parts(wanted: HistoryFilter) -> Iterator[Select[Any]]:
    """Yield the plans, the change sets, and the rows of the audit log, with the columns to sort by."""
    of_sets = [_is_in_shown_set(wanted)] if wanted.by_set else []
    yield select(
        plan.c.id.label("plan_id"),
        cast(null(), Uuid()).label("set_id"),
        cast(null(), Integer).label("log_id"),
        AT.label("at"),
        plan.c.dag_id,
        plan.c.task_instances.label("task_instances"),
        func.lower(BY_NAME).label("user"),
        shown_status(wanted.now).label("outcome"),
    ).where(
        *(~one for one in of_sets),
        IS_DRAFT if wanted.drafts else ~IS_DRAFT,
        *_plan_conditions(wanted),
        *_conditions(wanted, AT, shown_status(wanted.now)),
    )
    if wanted.by_set:
        yield _sets(wanted, of_sets)
    if not wanted.drafts and wanted.outcome in (None, WITH_AIRFLOW):
        yield logged_clears.select_logged(
            wanted,
            cast(null(), Uuid()).label("plan_id"),
            cast(null(), Uuid()).label("set_id"),
            log.c.id.label("log_id"),
            log.c.dttm.label("at"),
            log.c.dag_id,
            literal(0).label("task_instances"),
            func.lower(logged_clears.BY_NAME).label("user"),
            literal(WITH_AIRFLOW, String).label("outcome"),
        )


def _sets(wanted: HistoryFilter, of_sets: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Select the sets with a plan that the filter matches; time, user and outcome are the set's."""
    found = select(plan.c.change_set_id).where(*of_sets, *_plan_conditions(wanted)).correlate(None)
    at = func.coalesce(
        change_set.c.applied_at,
        func.max(plan.c.declined_at),
        func.max(plan.c.approval_asked_at),
        change_set.c.created_at,
    )
    outcome = shown_set_status(wanted.now)
    is_draft = func.max(case((IS_DRAFT, 0), else_=1)) == 0
    by_name = func.coalesce(change_set.c.applied_by_name, change_set.c.created_by_name)
    return (
        select(
            cast(null(), Uuid()).label("plan_id"),
            change_set.c.id.label("set_id"),
            cast(null(), Integer).label("log_id"),
            at.label("at"),
            func.min(plan.c.dag_id).label("dag_id"),
            func.sum(plan.c.task_instances).label("task_instances"),
            func.lower(by_name).label("user"),
            outcome.label("outcome"),
        )
        .select_from(change_set.join(plan, plan.c.change_set_id == change_set.c.id))
        .where(change_set.c.id.in_(found))
        .group_by(change_set.c.id)
        .having(and_(is_draft if wanted.drafts else ~is_draft, *_conditions(wanted, at, outcome)))
    )


def _is_in_shown_set(wanted: HistoryFilter) -> ColumnElement[bool]:
    """Whether the plan is part of a set whose plans the caller may all see."""
    other = plan.alias("other")
    hidden = select(literal(1)).where(
        other.c.change_set_id == plan.c.change_set_id, ~belongs_to(wanted.set_dags, other)
    )
    return and_(plan.c.change_set_id.is_not(None), ~hidden.exists())


def _conditions(
    wanted: HistoryFilter, at: ColumnElement[Any], outcome: ColumnElement[str]
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions on the time and the outcome."""
    if wanted.since:
        yield wanted.since <= at
    if wanted.until:
        yield wanted.until >= at
    if wanted.outcome:
        yield false() if wanted.outcome == WITH_AIRFLOW else outcome == wanted.outcome


def _plan_conditions(wanted: HistoryFilter) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that at least one plan of a set must meet."""
    yield belongs_to(wanted.dags)
    if wanted.only_cleared:
        yield plan.c.cleared_runs > 0
    if wanted.user:
        yield or_(
            *(
                plan.c[name].icontains(wanted.user, autoescape=True)
                for name in ("created_by_name", "applied_by_name")
            )
        )
    if wanted.user_id:
        yield or_(plan.c.created_by == wanted.user_id, plan.c.applied_by == wanted.user_id)
    yield from touches(wanted.task_id, wanted.run_id, wanted.map_index, only_cleared=wanted.only_cleared)


def dags_sharing_a_set(dag_id: str, session: Session) -> list[TeamDag]:
    """Return the DAGs that share a change set with a DAG."""
    mine = plan.alias("mine")
    sets = select(mine.c.change_set_id).where(mine.c.dag_id == dag_id, mine.c.change_set_id.is_not(None))
    query = select(plan.c.dag_id, plan.c.team_name).where(plan.c.change_set_id.in_(sets)).distinct()
    return [TeamDag(row.dag_id, row.team_name) for row in session.execute(query)]


def plans_by_id(plan_ids: Sequence[UUID], session: Session) -> dict[UUID, PlanSummary]:
    """Return the plans by id."""
    rows = session.execute(select_plans().where(plan.c.id.in_(plan_ids)))
    return {row.id: summary(row) for row in rows}


def run_spans(
    plan_ids: Sequence[UUID], session: Session
) -> dict[UUID, tuple[datetime | None, datetime | None]]:
    """Return the dates of each plan's first and last cleared run; if none was cleared, of all its runs."""
    cleared = select(
        plan_batch.c.plan_id, func.min(plan_batch.c.first_run), func.max(plan_batch.c.last_run)
    ).where(plan_batch.c.plan_id.in_(plan_ids), plan_batch.c.kind == "clear")
    found = {row[0]: (row[1], row[2]) for row in session.execute(cleared.group_by(plan_batch.c.plan_id))}
    others = [one for one in plan_ids if one not in found]
    planned = select(plan_run.c.plan_id, func.min(RUN_DATE), func.max(RUN_DATE)).where(
        plan_run.c.plan_id.in_(others), is_cleared_run()
    )
    found |= {row[0]: (row[1], row[2]) for row in session.execute(planned.group_by(plan_run.c.plan_id))}
    return found
