"""``depends_on_past`` and ``wait_for_downstream``: task instances that the previous dag run blocks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from airflow.models.backfill import BackfillDagRun
from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import literal

from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect

SUCCESSFUL_STATES = ("success", "skipped")
"""``_SUCCESSFUL_STATES`` of ``PrevDagrunDep``."""


@dataclass(frozen=True, slots=True)
class PreviousRunRule:
    """Tasks that ``PrevDagrunDep`` checks in the same way, in some DAG versions."""

    versions: tuple[UUID, ...]
    task_ids: tuple[str, ...]
    catchup: bool
    start_date: datetime | None
    ignore_first: bool
    downstream: frozenset[str]
    """Tasks that must have succeeded too in the previous run, by ``wait_for_downstream``."""


@dataclass(frozen=True, slots=True)
class BlockedByPreviousRun:
    """Task instances of a task that wait for one in the previous run that the plan does not clear."""

    task_id: str
    count: int
    run_id: str
    """The first of their runs by id, and the run before it."""
    previous_run_id: str
    for_downstream: bool
    """Whether it waits for the tasks directly downstream of the same task there."""


def rules_for(found: Iterable[tuple[Version, Collection[str]]]) -> list[PreviousRunRule]:
    """Return the rules for those of the tasks that depend on their past, in these versions."""
    versions: dict[tuple[Any, ...], list[UUID]] = {}
    for version, task_ids in found:
        for rule in _rules_of(version, task_ids):
            versions.setdefault(rule, []).append(version.id)
    return [PreviousRunRule(tuple(ids), *rule) for rule, ids in versions.items()]


def _rules_of(version: Version, task_ids: Collection[str]) -> list[tuple[Any, ...]]:
    """Return the fields of the rules of one version."""
    grouped: dict[tuple[Any, ...], list[str]] = {}
    for task_id in sorted(task_ids):
        task = version.dag.task_dict.get(task_id) if version.dag else None
        if task is None or not task.depends_on_past:
            continue
        waits_for = frozenset(task.downstream_task_ids) if task.wait_for_downstream else frozenset()
        started = task.start_date if version.dag.catchup else None
        grouped.setdefault((started, bool(task.ignore_first_depends_on_past), waits_for), []).append(task_id)
    return [(tuple(ids), bool(version.dag.catchup), *key) for key, ids in grouped.items()]


def find_blocked(
    plan: PlanTables, rule: PreviousRunRule, dag_id: str, session: Session
) -> Iterator[BlockedByPreviousRun]:
    """Yield what the previous run blocks, mirroring ``PrevDagrunDep._get_dep_statuses``.

    Task instances that the plan clears in the previous run block nothing, as they run again first, unless
    they are predicted to become upstream_failed.
    """
    before, rows = previous_runs(plan, rule, dag_id), plan.task_instances
    previous = dag_run.alias("previous")
    there = task_instance.alias("there")
    in_run = and_(there.c.dag_id == dag_id, there.c.run_id == previous.c.run_id)
    same_task = and_(in_run, there.c.task_id == rows.c.task_id)
    missing = is_missing(plan, rule, dag_id, before, previous)
    planned_again = plan.task_instances.alias("again")
    predicted = planned_again.c.foreseen_state
    undone = or_(
        _is_planned(plan, planned_again, there, predicted == "upstream_failed"),
        and_(
            or_(there.c.state.is_(None), there.c.state.not_in(SUCCESSFUL_STATES)),
            ~_is_planned(plan, planned_again, there),
        ),
    )
    # Not two queries: the OR makes PostgreSQL look each row up by index, where it would otherwise choose a
    # join by statistics that a plan just written does not have.
    reasons = [(or_(missing, exists_there(there, same_task, undone)), False)]
    if rule.downstream:
        below = exists_there(there, in_run, there.c.task_id.in_(rule.downstream), undone)
        reasons.append((below, True))
    for fails, for_downstream in reasons:
        query = _query(plan, rule, before, previous).where(fails)
        for row in session.execute(query.group_by(rows.c.task_id).order_by(rows.c.task_id)):
            yield BlockedByPreviousRun(row.task_id, row.n, row.run_id, row.previous_run_id, for_downstream)


def _query(plan: PlanTables, rule: PreviousRunRule, before: Any, previous: Any) -> Select[Any]:
    rows = plan.task_instances
    return (
        select(
            rows.c.task_id,
            func.count().label("n"),
            func.min(rows.c.run_id).label("run_id"),
            func.min(previous.c.run_id).label("previous_run_id"),
        )
        .select_from(
            plan.joined()
            .join(before, before.c.run_id == rows.c.run_id)
            .join(previous, previous.c.id == before.c.previous_id)
        )
        .where(
            *plan.is_to_run(),
            plan.runs.c.uses_dag_version_id.in_(rule.versions),
            rows.c.task_id.in_(rule.task_ids),
            ~passes_by_start_date(rule, previous),
        )
    )


def passes_by_start_date(rule: PreviousRunRule, previous: Any) -> ColumnElement[bool]:
    """Whether the task was not active yet in the previous run, where that counts."""
    if rule.start_date is None:
        return literal(value=False)
    found: ColumnElement[bool] = previous.c.logical_date < rule.start_date
    return found


def is_missing(
    plan: PlanTables, rule: PreviousRunRule, dag_id: str, before: Any, previous: Any
) -> ColumnElement[bool]:
    """Whether the task has no task instance in the previous run, where that blocks it."""
    rows, there = plan.task_instances, task_instance.alias("there")
    missing: ColumnElement[bool] = ~exists_there(
        there,
        there.c.dag_id == dag_id,
        there.c.run_id == previous.c.run_id,
        there.c.task_id == rows.c.task_id,
    )
    return and_(missing, _ran_before(dag_id, rows, before)) if rule.ignore_first else missing


def previous_runs(plan: PlanTables, rule: PreviousRunRule, dag_id: str) -> Any:
    """Select each planned run of the rule's version with its previous run.

    Mirrors ``DagRun.get_previous_scheduled_dagrun`` with catchup, else ``get_previous_dagrun``. The first
    run of a backfill has none.
    """
    own, earlier, runs = dag_run.alias("own"), dag_run.alias("earlier"), plan.runs
    previous_id = (
        select(earlier.c.id)
        .where(earlier.c.dag_id == dag_id, earlier.c.logical_date < own.c.logical_date)
        .order_by(earlier.c.logical_date.desc())
        .limit(1)
    )
    if rule.catchup:
        previous_id = previous_id.where(earlier.c.run_type != "manual")
    first_of_backfill = (
        select(BackfillDagRun.id)
        .where(
            BackfillDagRun.dag_run_id == own.c.id,
            BackfillDagRun.backfill_id == own.c.backfill_id,
            BackfillDagRun.sort_ordinal == 1,
        )
        .exists()
    )
    return (
        select(
            runs.c.run_id,
            own.c.logical_date,
            previous_id.correlate(own).scalar_subquery().label("previous_id"),
        )
        .select_from(runs.join(own, own.c.id == runs.c.dag_run_id))
        .where(runs.c.plan_id == plan.plan_id, runs.c.uses_dag_version_id.in_(rule.versions))
        .where(~first_of_backfill)
        .subquery("before")
    )


def exists_there(there: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether there is such a task instance."""
    found: Select[Any] = select(there.c.id).where(*conditions)
    return found.correlate_except(there).exists()


def _is_planned(plan: PlanTables, again: Any, there: Any, *more: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether the plan clears a task instance; those that it leaves out continue."""
    return (
        select(again.c.run_id)
        .where(
            again.c.plan_id == plan.plan_id,
            again.c.run_id == there.c.run_id,
            again.c.task_id == there.c.task_id,
            again.c.map_index == there.c.map_index,
            again.c.effect.in_((*CLEARED_EFFECTS, Effect.RESTORE, Effect.SCHEDULER_RESTORES)),
            *more,
        )
        .correlate(there)
        .exists()
    )


def _ran_before(dag_id: str, rows: Any, before: Any) -> ColumnElement[bool]:
    """Mirror ``PrevDagrunDep._has_any_prior_tis``."""
    prior, run = task_instance.alias("prior"), dag_run.alias("prior_run")
    return (
        select(prior.c.id)
        .join(run, and_(run.c.dag_id == prior.c.dag_id, run.c.run_id == prior.c.run_id))
        .where(
            prior.c.dag_id == dag_id,
            prior.c.task_id == rows.c.task_id,
            run.c.logical_date < before.c.logical_date,
        )
        .correlate(rows, before)
        .exists()
    )
