"""The task instances that a finding concerns: counted, and listed, by the same queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, func, null, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import is_one_of
from safe_clear_plugin.core.finding import Affected
from safe_clear_plugin.storage.findings.affected_queries import (
    AFFECTED_QUERIES,
    DOWNSTREAM_CODES,
    UPSTREAM_CODES,
    UPSTREAM_KINDS,
    causes,
    is_caused_by,
)
from safe_clear_plugin.storage.findings.setup_queries import SETUP_KINDS, is_left_out
from safe_clear_plugin.storage.findings.task_relations import is_cleared, is_unchanged, map_index_matches
from safe_clear_plugin.storage.tables import plan_relation, plan_run


@dataclass(frozen=True, slots=True)
class AffectedRow:
    """A task instance that a finding concerns; ``related_task_id`` is the task that causes it."""

    run_id: str
    logical_date: datetime | None
    run_after: datetime
    task_id: str
    map_index: int
    state: str | None
    try_number: int
    foreseen_state: str | None
    related_task_id: str | None


def count_by_task(code: str, plan_id: UUID, dag_id: str, session: Session) -> Affected:
    """Count the affected task instances of a finding, by task and by state."""
    found = AFFECTED_QUERIES[code](plan_id, dag_id, session).subquery("found")
    return _tally(found, session)


def count_blocking(code: str, plan_id: UUID, dag_id: str, session: Session) -> Affected:
    """Count the unchanged task instances directly upstream of the affected ones that cause the finding."""
    found = AFFECTED_QUERIES[code](plan_id, dag_id, session).subquery("found")
    relation, up = plan_relation.alias("related"), task_instance.alias("up")
    keys = (
        select(up.c.run_id, up.c.task_id, up.c.map_index, up.c.state)
        .select_from(
            found.join(
                relation,
                and_(
                    relation.c.plan_id == plan_id,
                    relation.c.shape == found.c.shape,
                    relation.c.task_id == found.c.task_id,
                    relation.c.kind.in_(UPSTREAM_KINDS),
                ),
            ).join(
                up,
                and_(
                    up.c.dag_id == dag_id,
                    up.c.task_id == relation.c.related_task_id,
                    up.c.run_id == found.c.run_id,
                    map_index_matches(relation, found, up),
                ),
            )
        )
        .where(
            *causes(code, up, plan_id),
            is_unchanged(up, plan_id),
            # Said of these too, or a hash join reads all of the DAG's.
            is_one_of(up.c.run_id, select(plan_run.c.run_id).where(plan_run.c.plan_id == plan_id)),
        )
        .distinct()
        .subquery("keys")
    )
    return _tally(keys, session)


def left_out_tasks(code: str, plan_id: UUID, dag_id: str, session: Session) -> list[str]:
    """Return the setups, or teardowns, that the affected ones of a finding are left without."""
    found = AFFECTED_QUERIES[code](plan_id, dag_id, session).subquery("found")
    relation = plan_relation.alias("related")
    of_task = and_(
        relation.c.plan_id == plan_id,
        relation.c.shape == found.c.shape,
        relation.c.task_id == found.c.task_id,
        relation.c.kind == SETUP_KINDS[code],
    )
    left_out = is_left_out(code, relation, found, plan_id, dag_id)
    query = select(relation.c.related_task_id).select_from(found.join(relation, of_task)).where(left_out)
    return sorted(session.scalars(query.distinct()))


def _tally(found: FromClause, session: Session) -> Affected:
    by_task = (found.c.task_id, found.c.state)
    tally = session.execute(select(*by_task, func.count().label("n")).group_by(*by_task)).all()
    if not tally:
        return Affected()
    runs = session.scalar(select(func.count(found.c.run_id.distinct()))) or 0
    return Affected.of(((row.task_id, row.state, row.n) for row in tally), runs)


def count_affected(code: str, plan_id: UUID, dag_id: str, session: Session) -> int:
    """Count the task instances that a finding concerns now."""
    found = AFFECTED_QUERIES[code](plan_id, dag_id, session).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0


def affected_rows(
    code: str, plan_id: UUID, dag_id: str, session: Session, *, offset: int = 0, limit: int = 100
) -> list[AffectedRow]:
    """Return a page of the task instances that a finding concerns now, by run, then by task."""
    page = (
        AFFECTED_QUERIES[code](plan_id, dag_id, session)
        .order_by(plan_run.c.run_after, plan_run.c.dag_run_id)
        .order_by("task_id", "map_index")
        .offset(offset)
        .limit(limit)
        .subquery("page")
    )
    related = _first_cause(code, page, plan_id, dag_id)
    result = session.execute(
        select(page, related.label("related_task_id")).order_by(
            page.c.run_after, page.c.dag_run_id, page.c.task_id, page.c.map_index
        )
    )
    return [AffectedRow(**{name: row[name] for name in AffectedRow.__slots__}) for row in result.mappings()]


def _first_cause(code: str, page: FromClause, plan_id: UUID, dag_id: str) -> ColumnElement[Any]:
    """Return the first, by name, of the tasks that cause the finding for a task instance, if tasks do."""
    if code not in (*DOWNSTREAM_CODES, *UPSTREAM_CODES, *SETUP_KINDS):
        return null()
    relation = plan_relation.alias("relation")
    of_task = (
        relation.c.plan_id == plan_id,
        relation.c.shape == page.c.shape,
        relation.c.task_id == page.c.task_id,
    )
    related = select(func.min(relation.c.related_task_id)).where(*of_task)
    if code in SETUP_KINDS:
        related = related.where(
            relation.c.kind == SETUP_KINDS[code], is_left_out(code, relation, page, plan_id, dag_id)
        )
    elif code in DOWNSTREAM_CODES:
        related = related.where(relation.c.kind == "downstream", is_cleared(relation, page, plan_id))
    else:
        related = related.where(
            relation.c.kind.in_(UPSTREAM_KINDS), is_caused_by(code, relation, page, plan_id, dag_id)
        )
    return related.scalar_subquery()
