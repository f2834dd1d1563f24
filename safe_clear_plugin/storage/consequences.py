"""What lies around the cleared task instances in their own runs: counted, and listed, by the same conditions.

Every query starts from the plan's runs and the tasks that its relations name, so that it looks at no more of
Airflow's task instances than those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, and_, func, null, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.base import task_instance
from safe_clear_plugin.airflow_api.runs import is_unfinished
from safe_clear_plugin.core.findings.affected import Affected
from safe_clear_plugin.core.plan import CLEARED_EFFECTS
from safe_clear_plugin.storage.models import plan_relation, plan_run, plan_task_instance
from safe_clear_plugin.storage.relations import (
    foreseen_state,
    is_untouched,
    map_indexes_meet,
    relates,
    rests_on_cleared,
    same_key,
)

rows_ = plan_task_instance
STAYING_STATES = ("failed", "upstream_failed", "skipped")
FAILED_STATES = ("failed", "upstream_failed")
UPSTREAM_KINDS = ("upstream", "one_upstream", "setup", "mapped")


@dataclass(frozen=True, slots=True)
class RowBehind:
    """A task instance behind a finding; ``related_task_id`` is the task that makes it one."""

    run_id: str
    logical_date: datetime | None
    run_after: datetime
    task_id: str
    map_index: int
    state: str | None
    try_number: int
    foreseen_state: str | None
    related_task_id: str | None


def _downstream(plan_id: UUID, dag_id: str, states: Sequence[str]) -> Select[Any]:
    ti = task_instance
    related = (
        select(plan_relation.c.dag_version_id, plan_relation.c.related_task_id)
        .where(plan_relation.c.plan_id == plan_id, plan_relation.c.kind == "downstream")
        .distinct()
        .subquery("related")
    )
    source = plan_run.join(related, related.c.dag_version_id == plan_run.c.uses_dag_version_id).join(
        ti,
        and_(
            ti.c.dag_id == dag_id,
            ti.c.run_id == plan_run.c.run_id,
            ti.c.task_id == related.c.related_task_id,
        ),
    )
    return (
        select(*_run_columns(), ti.c.task_id, ti.c.map_index, ti.c.state, ti.c.try_number)
        .add_columns(null().label("foreseen_state"))
        .select_from(source)
        .where(
            plan_run.c.plan_id == plan_id,
            plan_run.c.task_instances > 0,
            ti.c.state.in_(states),
            is_untouched(ti, plan_id),
            rests_on_cleared(ti, plan_id),
        )
    )


def _planned(plan_id: UUID) -> Select[Any]:
    return (
        select(*_run_columns(), rows_.c.task_id, rows_.c.map_index, rows_.c.state, rows_.c.try_number)
        .add_columns(rows_.c.foreseen_state)
        .select_from(
            plan_run.join(
                rows_, and_(rows_.c.plan_id == plan_run.c.plan_id, rows_.c.run_id == plan_run.c.run_id)
            )
        )
        .where(plan_run.c.plan_id == plan_id, rows_.c.effect.in_(CLEARED_EFFECTS))
    )


def _foreseen(plan_id: UUID, state: str) -> Select[Any]:
    return _planned(plan_id).where(rows_.c.foreseen_state == state)


def _waiting(plan_id: UUID, dag_id: str) -> Select[Any]:
    """Cleared task instances with something upstream that has not finished and is not cleared with them."""
    relation, up, kept = _upstream_sides()
    waits = (
        select(up.c.run_id)
        .select_from(_upstream_source(relation, up, kept, plan_id, dag_id))
        .where(
            *relates(relation, plan_id, ("upstream", "setup")),
            relation.c.task_id == rows_.c.task_id,
            up.c.run_id == rows_.c.run_id,
            map_indexes_meet(relation, rows_, up),
            is_unfinished(up.c.state),
            or_(kept.c.plan_id.is_(None), kept.c.effect == "leave_out"),
        )
    )
    return _planned(plan_id).where(
        rows_.c.foreseen_state.is_(None),
        plan_run.c.after_state.in_(("queued", "running")),
        waits.correlate(rows_, plan_run).exists(),
    )


BEHIND: dict[str, Callable[[UUID, str], Select[Any]]] = {
    "stale_downstream": lambda plan_id, dag_id: _downstream(plan_id, dag_id, ("success",)),
    "downstream_stays": lambda plan_id, dag_id: _downstream(plan_id, dag_id, STAYING_STATES),
    "upstream_failed": lambda plan_id, _: _foreseen(plan_id, "upstream_failed"),
    "upstream_skipped": lambda plan_id, _: _foreseen(plan_id, "skipped"),
    "upstream_unfinished": _waiting,
}
"""The task instances behind each finding that has its own."""


def affected(code: str, plan_id: UUID, dag_id: str, session: Session) -> Affected:
    """Count the task instances behind a finding, by task and by state."""
    found = BEHIND[code](plan_id, dag_id).subquery("found")
    tally = session.execute(
        select(found.c.task_id, found.c.state, func.count().label("n")).group_by(
            found.c.task_id, found.c.state
        )
    ).all()
    if not tally:
        return Affected()
    runs = session.scalar(select(func.count(found.c.run_id.distinct()))) or 0
    return Affected.of(((row.task_id, row.state, row.n) for row in tally), runs)


def blockers(code: str, plan_id: UUID, dag_id: str, session: Session) -> Affected:
    """Count what lies directly upstream of the task instances behind a finding and makes it so."""
    found = BEHIND[code](plan_id, dag_id).subquery("found")
    relation, up, kept = _upstream_sides()
    wanted = _blocks(code, up, kept)
    source = _upstream_source(relation, up, kept, plan_id, dag_id)
    keys = (
        select(up.c.run_id, up.c.task_id, up.c.map_index, up.c.state)
        .select_from(
            source.join(plan_run, plan_run.c.run_id == up.c.run_id).join(
                found,
                and_(
                    found.c.run_id == up.c.run_id,
                    found.c.task_id == relation.c.task_id,
                    map_indexes_meet(relation, found, up),
                ),
            )
        )
        .where(
            plan_run.c.plan_id == plan_id,
            *relates(relation, plan_id, UPSTREAM_KINDS),
            wanted,
            or_(kept.c.plan_id.is_(None), kept.c.effect == "leave_out"),
        )
        .distinct()
        .subquery("keys")
    )
    tally = session.execute(
        select(keys.c.task_id, keys.c.state, func.count().label("n")).group_by(keys.c.task_id, keys.c.state)
    ).all()
    runs = session.scalar(select(func.count(keys.c.run_id.distinct()))) or 0
    return Affected.of(((row.task_id, row.state, row.n) for row in tally), runs)


def count_behind(code: str, plan_id: UUID, dag_id: str, session: Session) -> int:
    """Count the task instances behind a finding as they are now."""
    return session.scalar(select(func.count()).select_from(BEHIND[code](plan_id, dag_id).subquery())) or 0


def rows_behind(
    code: str, plan_id: UUID, dag_id: str, session: Session, *, offset: int = 0, limit: int = 100
) -> list[RowBehind]:
    """Return a page of the task instances behind a finding as they are now, by run, then by task."""
    page = (
        BEHIND[code](plan_id, dag_id)
        .order_by(plan_run.c.run_after, plan_run.c.dag_run_id)
        .order_by("task_id", "map_index")
        .offset(offset)
        .limit(limit)
        .subquery("page")
    )
    related = _cause(code, page, plan_id, dag_id)
    result = session.execute(
        select(page, related.label("related_task_id")).order_by(
            page.c.run_after, page.c.dag_run_id, page.c.task_id, page.c.map_index
        )
    )
    return [RowBehind(**{name: row[name] for name in RowBehind.__slots__}) for row in result.mappings()]


def _cause(code: str, page: FromClause, plan_id: UUID, dag_id: str) -> ColumnElement[Any]:
    """Return the first, by name, of the tasks that make a task instance one that a finding speaks of."""
    if code in ("stale_downstream", "downstream_stays"):
        return _cleared_upstream_of(page, plan_id)
    return _blocking(code, page, plan_id, dag_id)


def _cleared_upstream_of(page: FromClause, plan_id: UUID) -> ColumnElement[Any]:
    relation, mine = plan_relation.alias("relation"), rows_.alias("cleared")
    return (
        select(func.min(mine.c.task_id))
        .where(
            relation.c.plan_id == plan_id,
            relation.c.kind == "downstream",
            relation.c.dag_version_id == page.c.uses_dag_version_id,
            relation.c.related_task_id == page.c.task_id,
            mine.c.plan_id == plan_id,
            mine.c.run_id == page.c.run_id,
            mine.c.task_id == relation.c.task_id,
            mine.c.effect.in_(CLEARED_EFFECTS),
            map_indexes_meet(relation, mine, page),
        )
        .scalar_subquery()
    )


def _blocking(code: str, page: FromClause, plan_id: UUID, dag_id: str) -> ColumnElement[Any]:
    relation, up, kept = _upstream_sides()
    return (
        select(func.min(up.c.task_id))
        .select_from(_upstream_source(relation, up, kept, plan_id, dag_id))
        .where(
            relation.c.plan_id == plan_id,
            relation.c.kind.in_(UPSTREAM_KINDS),
            relation.c.dag_version_id == page.c.uses_dag_version_id,
            relation.c.task_id == page.c.task_id,
            up.c.run_id == page.c.run_id,
            map_indexes_meet(relation, page, up),
            _blocks(code, up, kept),
        )
        .correlate(page)
        .scalar_subquery()
    )


def _blocks(code: str, up: FromClause, kept: FromClause) -> ColumnElement[bool]:
    state = foreseen_state(up, kept)
    if code == "upstream_unfinished":
        return and_(is_unfinished(up.c.state), or_(kept.c.plan_id.is_(None), kept.c.effect == "leave_out"))
    if code == "upstream_failed":
        return state.in_((*FAILED_STATES, "skipped", "removed"))
    return state.in_(("success", *STAYING_STATES, "removed"))


def _upstream_sides() -> tuple[FromClause, FromClause, FromClause]:
    return plan_relation.alias("relation"), task_instance.alias("upstream"), rows_.alias("kept")


def _upstream_source(
    relation: FromClause, up: FromClause, kept: FromClause, plan_id: UUID, dag_id: str
) -> FromClause:
    here = and_(up.c.dag_id == dag_id, up.c.task_id == relation.c.related_task_id)
    return relation.join(up, here).join(kept, and_(*same_key(kept, up, plan_id)), isouter=True)


def _run_columns() -> tuple[ColumnElement[Any], ...]:
    return (
        plan_run.c.run_id,
        plan_run.c.logical_date,
        plan_run.c.run_after,
        plan_run.c.dag_run_id,
        plan_run.c.uses_dag_version_id,
    )
