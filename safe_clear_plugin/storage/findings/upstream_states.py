"""The states of what lies upstream of cleared task instances, and what a trigger rule makes of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Integer, Select, and_, case, cast, func, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Upstream
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import (
    COUNTED,
    Counts,
    by_mapping,
    by_rule,
    by_setups,
)
from safe_clear_plugin.core.effects import PENDING_EFFECTS
from safe_clear_plugin.storage.findings.task_relations import among, foreseen_state
from safe_clear_plugin.storage.tables import ALL_MAP_INDEXES, plan_run, plan_task_instance

rows_ = plan_task_instance
MAPPED = ("mapped",)
SETUP = ("setup",)
DIRECT = ("upstream", "one_upstream")


@dataclass(frozen=True, slots=True)
class Reach:
    """The runs of one plan that have one of some shapes; ``None`` stands for all."""

    plan_id: UUID
    dag_id: str
    shapes: frozenset[int] | None = None

    def runs(self) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions on runs: only those that the scheduler looks at after the clear."""
        yield plan_run.c.plan_id == self.plan_id
        if self.shapes is not None:
            yield plan_run.c.shape.in_(sorted(self.shapes))
        yield plan_run.c.task_instances > 0
        yield plan_run.c.after_state.in_(("queued", "running"))

    def task_instances(self, ti: FromClause, task_ids: Collection[str]) -> FromClause:
        """Return the runs with their task instances of some tasks."""
        here = and_(ti.c.dag_id == self.dag_id, ti.c.run_id == plan_run.c.run_id)
        return plan_run.join(ti, and_(here, among(ti.c.task_id, task_ids)))


def states_upstream(
    reach: Reach, task_ids: Collection[str], session: Session
) -> dict[int, dict[str, set[str]]]:
    """Return, by shape, the finished states that tasks upstream of planned ones keep."""
    ti = task_instance
    state = foreseen_state(ti, reach.plan_id)
    query = select(plan_run.c.shape, ti.c.task_id, state.label("state"))
    query = query.select_from(reach.task_instances(ti, task_ids))
    found: dict[int, dict[str, set[str]]] = {}
    for row in session.execute(query.where(*reach.runs(), state.in_(COUNTED)).distinct()):
        found.setdefault(row.shape, {}).setdefault(row.task_id, set()).add(row.state)
    return found


def settle(reach: Reach, task: Upstream, session: Session) -> bool:
    """Write what becomes of one task's instances in this round; return whether anything does.

    Setups come first, as in ``TriggerRuleDep``; what a mapping is taken from is looked at last.
    """
    mine = rows_.alias("waiting")
    changed = 0
    for kinds, expected in ((SETUP, task.setups), (DIRECT, task.direct), (MAPPED, None)):
        if not any(relation.kind in kinds for relation in task.relations):
            continue
        table = _counts(reach, task, kinds)
        becomes = _becomes(task, kinds, Counts(table, expected), mine.c.map_index)
        if becomes is not None:
            changed += _write(reach, task, mine, table, becomes=becomes, session=session)
    return changed > 0


def _becomes(
    task: Upstream, kinds: Sequence[str], counts: Counts, map_index: ColumnElement[Any]
) -> ColumnElement[Any] | None:
    if kinds == SETUP:
        return by_setups(counts, map_index)
    if kinds == MAPPED:
        return by_mapping(counts)
    return by_rule(task.trigger_rule, counts, map_index)


def _counts(reach: Reach, task: Upstream, kinds: Sequence[str]) -> FromClause:
    """Count, in each run, what is upstream of a task by state: for all map indexes, or for each by itself."""
    parts = _existing(reach, task, kinds).union_all(_created(reach, task, kinds)).subquery("parts")
    setup = parts.c.task_id.in_(sorted(task.direct_setups))
    return (
        select(
            parts.c.run_id,
            parts.c.map_index,
            func.count().label("total"),
            *(_number(parts.c.state == name).label(name) for name in COUNTED),
            _number(setup).label("setups"),
            _number(and_(setup, parts.c.state == "success")).label("setups_succeeded"),
            _number(and_(setup, parts.c.state == "skipped")).label("setups_skipped"),
        )
        .group_by(parts.c.run_id, parts.c.map_index)
        .subquery("counts")
    )


def _existing(reach: Reach, task: Upstream, kinds: Sequence[str]) -> Select[Any]:
    ti = task_instance.alias("up")
    return (
        select(
            ti.c.run_id.label("run_id"),
            _bucket(ti, task, kinds).label("map_index"),
            ti.c.task_id.label("task_id"),
            foreseen_state(ti, reach.plan_id).label("state"),
        )
        .select_from(reach.task_instances(ti, _related(task, kinds)))
        .where(*reach.runs(), *([ti.c.map_index == -1] if kinds == MAPPED else []))
    )


def _created(reach: Reach, task: Upstream, kinds: Sequence[str]) -> Select[Any]:
    """Select what is upstream only once the run's move to another DAG version has created it."""
    mine = rows_.alias("mine")
    of_run = and_(mine.c.plan_id == plan_run.c.plan_id, mine.c.run_id == plan_run.c.run_id)
    return (
        select(
            mine.c.run_id,
            _bucket(mine, task, kinds),
            mine.c.task_id,
            func.coalesce(mine.c.foreseen_state, mine.c.after_state),
        )
        .select_from(plan_run.join(mine, of_run))
        .where(*reach.runs(), mine.c.effect == "create", mine.c.task_id.in_(_related(task, kinds)))
    )


def _related(task: Upstream, kinds: Sequence[str], *, same: bool | None = None) -> list[str]:
    return sorted(
        {
            relation.related_task_id
            for relation in task.relations
            if relation.kind in kinds and same in (None, relation.same_map_index)
        }
    )


def _bucket(ti: FromClause, task: Upstream, kinds: Sequence[str]) -> ColumnElement[Any]:
    """Return the map index that something upstream counts for."""
    by_index = ti.c.task_id.in_(_related(task, kinds, same=True))
    return case((by_index, ti.c.map_index), else_=ALL_MAP_INDEXES)


def _write(
    reach: Reach,
    task: Upstream,
    mine: FromClause,
    table: FromClause,
    *,
    becomes: ColumnElement[Any],
    session: Session,
) -> int:
    counted_for = and_(
        table.c.run_id == mine.c.run_id,
        or_(
            table.c.map_index < 0,
            table.c.map_index == mine.c.map_index,
            *([mine.c.map_index < 0] if task.all_while_unexpanded else []),
        ),
    )
    verdict = (
        select(mine.c.run_id, mine.c.map_index, becomes.label("state"))
        .select_from(mine.join(table, counted_for))
        .where(
            mine.c.plan_id == reach.plan_id,
            mine.c.task_id == task.task_id,
            mine.c.effect.in_(PENDING_EFFECTS),
            mine.c.foreseen_state.is_(None),
            or_(mine.c.after_state.is_(None), mine.c.after_state == "restarting"),
        )
        .group_by(mine.c.run_id, mine.c.map_index)
        .subquery("verdict")
    )
    settled = (
        update(rows_)
        .where(
            rows_.c.plan_id == reach.plan_id,
            rows_.c.task_id == task.task_id,
            rows_.c.run_id == verdict.c.run_id,
            rows_.c.map_index == verdict.c.map_index,
            verdict.c.state.is_not(None),
        )
        .values(foreseen_state=verdict.c.state)
    )
    return count_written(settled, session)


def _number(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(cast(case((condition, 1), else_=0), Integer()))
