"""The task instances that a finding concerns: the same queries count and list them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, GenerativeSelect, and_, case, func, null, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import is_one_of
from safe_clear_plugin.core.effects import DAG_CHANGE_EFFECTS
from safe_clear_plugin.core.finding import NOT_AFFECTED, Affected
from safe_clear_plugin.core.states import FINISHED_STATES
from safe_clear_plugin.storage.findings.affected_queries import (
    AFFECTED_QUERIES,
    DECISION_REASONS,
    DOWNSTREAM_CODES,
    UPSTREAM_CODES,
    UPSTREAM_KINDS,
    downstream,
)
from safe_clear_plugin.storage.findings.setup_queries import SETUP_KINDS, is_left_out
from safe_clear_plugin.storage.findings.task_relations import is_cleared, is_unchanged, map_index_matches
from safe_clear_plugin.storage.findings.upstream_causes import causes, is_caused_by
from safe_clear_plugin.storage.rows import map_label
from safe_clear_plugin.storage.tables import plan_relation, plan_run


@dataclass(frozen=True, slots=True)
class AffectedRow:
    """A task instance that a finding concerns; ``related_task_id`` is the task that causes it.

    Without a task id it is a dag run.
    """

    run_id: str
    logical_date: datetime | None
    run_after: datetime
    task_id: str
    map_index: int
    state: str | None
    try_number: int
    foreseen_state: str | None
    outcome_reason: str | None
    related_task_id: str | None
    rendered_map_index: str | None
    """The label that ``map_index_template`` makes of the map index."""
    effect: str | None = None
    """The change by the clear, or by the scheduler because of the clear; ``None`` outside the plan."""
    uses_dag_version_id: UUID | None = None
    """The DAG version of its run, in a list by tasks."""
    details: tuple[str, ...] = ()
    """Details of its task, for example callbacks."""
    is_hidden: bool = False
    """Whether the details name a DAG that the reader can't see, and so are left out."""

    @property
    def is_run(self) -> bool:
        """Whether it is a dag run."""
        return not self.task_id

    @property
    def is_change(self) -> bool:
        """Whether it is created, restored or removed because the DAG has changed."""
        return self.effect in DAG_CHANGE_EFFECTS


def count_by_task(code: str, plan_id: UUID, dag_id: str, session: Session) -> Affected:
    """Count the affected task instances of a finding, by task and by state."""
    found = AFFECTED_QUERIES[code](plan_id, dag_id, session).subquery("found")
    return _tally(found, session)


def count_downstream(plan_id: UUID, dag_id: str, session: Session) -> tuple[Affected, Affected]:
    """Count those of ``stale_downstream`` and ``downstream_stays`` together."""
    found = downstream(plan_id, dag_id, FINISHED_STATES, session).subquery("found")
    by_task = (found.c.task_id, found.c.state)
    rows = session.execute(select(*by_task, func.count().label("n")).group_by(*by_task)).all()
    tallies = [[tuple(row) for row in rows if (row.state == "success") == stale] for stale in (True, False)]
    if not rows:
        return NOT_AFFECTED, NOT_AFFECTED
    is_stale = case((found.c.state == "success", found.c.run_id))
    stays = case((found.c.state != "success", found.c.run_id))
    runs = session.execute(select(func.count(is_stale.distinct()), func.count(stays.distinct()))).one()
    stale_ones, staying = (Affected.of(tally, number) for tally, number in zip(tallies, runs, strict=True))
    return stale_ones, staying


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
    code: str,
    plan_id: UUID,
    dag_id: str,
    session: Session,
    *,
    query: GenerativeSelect | None = None,
    offset: int = 0,
    limit: int = 100,
) -> list[AffectedRow]:
    """Return a page of the task instances that a finding concerns now, by run, then by task.

    A list by tasks gives its own ``query``.
    """
    found = AFFECTED_QUERIES[code](plan_id, dag_id, session) if query is None else query
    page = (
        found.order_by("run_after", "dag_run_id", "task_id", "map_index")
        .offset(offset)
        .limit(limit)
        .subquery("page")
    )
    related = _first_cause(code, page, plan_id, dag_id)
    result = session.execute(
        select(page, related.label("related_task_id"), map_label(page, plan_id, session)).order_by(
            page.c.run_after, page.c.dag_run_id, page.c.task_id, page.c.map_index
        )
    )
    names = [name for name in AffectedRow.__slots__ if name in result.keys()]  # noqa: SIM118 (no mapping)
    return [AffectedRow(**{name: row[name] for name in names}) for row in result.mappings()]


NOT_BY_TASKS = ("waits_for_person", "resumes_job")
"""Findings on decisions that no other task of the run causes."""


def _first_cause(code: str, page: FromClause, plan_id: UUID, dag_id: str) -> ColumnElement[Any]:
    """Return the first, by name, of the tasks that cause the finding for a task instance, if tasks do."""
    by_tasks = (*DOWNSTREAM_CODES, *UPSTREAM_CODES, *SETUP_KINDS, *DECISION_REASONS, "never_starts")
    if code not in by_tasks or code in NOT_BY_TASKS:
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
        kinds = ("decided_by",) if code in DECISION_REASONS else UPSTREAM_KINDS
        related = related.where(
            relation.c.kind.in_(kinds), is_caused_by(code, relation, page, plan_id, dag_id)
        )
    return related.scalar_subquery()
