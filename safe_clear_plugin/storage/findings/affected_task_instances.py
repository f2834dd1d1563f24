"""What lies around the cleared task instances in their own runs: counted, and listed, by the same conditions.

Every query starts from the plan's runs and the tasks that its relations name, so that it looks at no more of
Airflow's task instances than those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, and_, func, null, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import there_is
from safe_clear_plugin.airflow_api.platform.task_states import is_unfinished
from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.findings.affected import Affected
from safe_clear_plugin.core.states import STAYING_STATES
from safe_clear_plugin.storage.findings.task_relations import (
    among,
    downstream_tasks,
    foreseen_state,
    is_cleared,
    is_kept,
    is_untouched,
    map_indexes_meet,
    relates,
    rests_on_cleared,
)
from safe_clear_plugin.storage.tables import plan_relation, plan_run, plan_task_instance

rows_ = plan_task_instance
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


def _downstream(plan_id: UUID, dag_id: str, states: Sequence[str], session: Session) -> Select[Any]:
    ti = task_instance
    source = plan_run.join(ti, and_(ti.c.dag_id == dag_id, ti.c.run_id == plan_run.c.run_id))
    return (
        select(*_run_columns(), ti.c.task_id, ti.c.map_index, ti.c.state, ti.c.try_number)
        .add_columns(null().label("foreseen_state"))
        .select_from(source)
        .where(
            plan_run.c.plan_id == plan_id,
            plan_run.c.task_instances > 0,
            ti.c.state.in_(states),
            among(ti.c.task_id, downstream_tasks(plan_id, session)),
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
    waits = _upstream_of(rows_, plan_id, dag_id, ("upstream", "setup"), "upstream_unfinished")
    return _planned(plan_id).where(
        rows_.c.foreseen_state.is_(None),
        plan_run.c.after_state.in_(("queued", "running")),
        waits,
    )


def _upstream_of(
    row: FromClause, plan_id: UUID, dag_id: str, kinds: Sequence[str], code: str
) -> ColumnElement[bool]:
    """Whether something upstream of a row, directly or as a setup, makes it one that a finding speaks of."""
    relation = plan_relation.alias("relation")
    return there_is(
        relation,
        *relates(relation, plan_id, kinds),
        relation.c.task_id == row.c.task_id,
        _is_blocked(code, relation, row, plan_id, dag_id),
    )


def _is_blocked(
    code: str, relation: FromClause, row: FromClause, plan_id: UUID, dag_id: str
) -> ColumnElement[bool]:
    """Whether the related task has a task instance that makes a row one that a finding speaks of."""
    up = task_instance.alias("upstream")
    return there_is(
        up,
        up.c.dag_id == dag_id,
        up.c.task_id == relation.c.related_task_id,
        up.c.run_id == row.c.run_id,
        map_indexes_meet(relation, row, up),
        *_blocks(code, up, plan_id),
    )


BEHIND: dict[str, Callable[[UUID, str, Session], Select[Any]]] = {
    "stale_downstream": lambda plan_id, dag_id, session: _downstream(plan_id, dag_id, ("success",), session),
    "downstream_stays": lambda plan_id, dag_id, session: _downstream(
        plan_id, dag_id, STAYING_STATES, session
    ),
    "upstream_failed": lambda plan_id, *_: _foreseen(plan_id, "upstream_failed"),
    "upstream_skipped": lambda plan_id, *_: _foreseen(plan_id, "skipped"),
    "upstream_unfinished": lambda plan_id, dag_id, _: _waiting(plan_id, dag_id),
}
"""The task instances behind each finding that has its own."""


def affected(code: str, plan_id: UUID, dag_id: str, session: Session) -> Affected:
    """Count the task instances behind a finding, by task and by state."""
    found = BEHIND[code](plan_id, dag_id, session).subquery("found")
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
    """Count what lies upstream of the task instances behind a finding, is not cleared, and makes it so."""
    found = BEHIND[code](plan_id, dag_id, session).subquery("found")
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
                    map_indexes_meet(relation, found, up),
                ),
            )
        )
        .where(*_blocks(code, up, plan_id), is_kept(up, plan_id))
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
    return (
        session.scalar(select(func.count()).select_from(BEHIND[code](plan_id, dag_id, session).subquery()))
        or 0
    )


def rows_behind(
    code: str, plan_id: UUID, dag_id: str, session: Session, *, offset: int = 0, limit: int = 100
) -> list[RowBehind]:
    """Return a page of the task instances behind a finding as they are now, by run, then by task."""
    page = (
        BEHIND[code](plan_id, dag_id, session)
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
    relation = plan_relation.alias("relation")
    of_task = (
        relation.c.plan_id == plan_id,
        relation.c.shape == page.c.shape,
        relation.c.task_id == page.c.task_id,
    )
    if code in ("stale_downstream", "downstream_stays"):
        cleared = select(func.min(relation.c.related_task_id)).where(
            *of_task,
            relation.c.kind == "downstream",
            is_cleared(relation, page, plan_id),
        )
        return cleared.scalar_subquery()
    blocking = select(func.min(relation.c.related_task_id)).where(
        *of_task,
        relation.c.kind.in_(UPSTREAM_KINDS),
        _is_blocked(code, relation, page, plan_id, dag_id),
    )
    return blocking.scalar_subquery()


def _blocks(code: str, up: FromClause, plan_id: UUID) -> Iterator[ColumnElement[bool]]:
    """Yield when a task instance makes those downstream of it ones that a finding speaks of."""
    if code == "upstream_unfinished":
        yield is_unfinished(up.c.state)
        yield is_kept(up, plan_id)
    elif code == "upstream_failed":
        yield foreseen_state(up, plan_id).in_((*STAYING_STATES, "removed"))
    else:
        yield foreseen_state(up, plan_id).in_(("success", *STAYING_STATES, "removed"))


def _run_columns() -> tuple[ColumnElement[Any], ...]:
    return (
        plan_run.c.run_id,
        plan_run.c.logical_date,
        plan_run.c.run_after,
        plan_run.c.dag_run_id,
        plan_run.c.shape,
    )
