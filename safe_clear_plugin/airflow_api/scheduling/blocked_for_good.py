"""Task instances that ``depends_on_past`` keeps from starting for good, also from run to run."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables
from safe_clear_plugin.airflow_api.scheduling.depends_on_past import (
    SUCCESSFUL_STATES,
    PreviousRunRule,
    exists_there,
    is_missing,
    passes_by_start_date,
    previous_runs,
)
from safe_clear_plugin.core.effects import PENDING_EFFECTS
from safe_clear_plugin.core.outcomes import GOES_ON, Outcome
from safe_clear_plugin.core.states import FINISHED_RUN_STATES, UNFINISHED_RUN_STATES

LOST = (Outcome.NEVER_STARTS, Outcome.UPSTREAM_FAILED, Outcome.REMOVED)
"""Outcomes after which a task instance will not be successful."""


def blocked_for_good(plan: PlanTables, rule: PreviousRunRule, dag_id: str) -> Select[Any]:
    """Select ``run_id`` and ``task_id`` of task instances that wait for an earlier run that will not succeed.

    That holds where the previous run has ended without success of the task, or will. It goes on from run to
    run, as long as each run's task instance waits for one of the plan in the run before.
    """
    row = _rows(plan, rule, dag_id).subquery("waiting")
    island = func.sum(1 - row.c.linked).over(
        partition_by=row.c.task_id, order_by=(row.c.logical_date, row.c.run_id)
    )
    numbered = select(row, island.label("island")).subquery("numbered")
    blocked = func.max(numbered.c.blocked).over(
        partition_by=(numbered.c.task_id, numbered.c.island),
        order_by=(numbered.c.logical_date, numbered.c.run_id),
    )
    found = select(numbered.c.run_id, numbered.c.task_id, blocked.label("blocked")).subquery("chained")
    return select(found.c.run_id, found.c.task_id).where(found.c.blocked == 1)


def _rows(plan: PlanTables, rule: PreviousRunRule, dag_id: str) -> Select[Any]:
    """Select each task and run of the rule: whether blocked in itself, or waiting for a planned one."""
    before, rows, runs = previous_runs(plan, rule, dag_id), plan.task_instances, plan.runs
    previous = dag_run.alias("previous")
    looks_back = and_(previous.c.id.is_not(None), ~passes_by_start_date(rule, previous))
    lost = or_(*_lost(plan, rule, dag_id, before, previous))
    source = (
        plan.joined()
        .outerjoin(before, before.c.run_id == rows.c.run_id)
        .outerjoin(previous, previous.c.id == before.c.previous_id)
    )
    return (
        select(
            rows.c.run_id,
            rows.c.task_id,
            runs.c.logical_date,
            case((and_(looks_back, lost), 1), else_=0).label("blocked"),
            case((and_(looks_back, _waits_for_planned(plan, rule, previous)), 1), else_=0).label("linked"),
        )
        .distinct()
        .select_from(source)
        .where(
            rows.c.plan_id == plan.plan_id,
            rows.c.effect.in_(PENDING_EFFECTS),
            rows.c.task_id.in_(rule.task_ids),
            runs.c.uses_dag_version_id.in_(rule.versions),
            runs.c.logical_date.is_not(None),
            *plan.is_unfinished_run(),
        )
    )


def _lost(
    plan: PlanTables, rule: PreviousRunRule, dag_id: str, before: Any, previous: Any
) -> list[ColumnElement[bool]]:
    """Return why the previous run blocks for good, each a condition."""
    rows, there = plan.task_instances, task_instance.alias("there")
    in_run = and_(there.c.dag_id == dag_id, there.c.run_id == previous.c.run_id)
    lost = _is_lost(plan, there, previous)
    missing = and_(
        is_missing(plan, rule, dag_id, before, previous),
        ~_is_created(plan, previous),
        or_(previous.c.state.in_(FINISHED_RUN_STATES), _is_in_plan(plan, previous)),
    )
    reasons = [missing, exists_there(there, in_run, there.c.task_id == rows.c.task_id, lost)]
    if rule.downstream:
        reasons.append(exists_there(there, in_run, there.c.task_id.in_(rule.downstream), lost))
    return reasons


def _is_lost(plan: PlanTables, there: Any, previous: Any) -> ColumnElement[bool]:
    """Whether a task instance of the previous run is not successful, and will not be."""
    again = plan.task_instances.alias("again")
    planned = (
        again.c.plan_id == plan.plan_id,
        again.c.run_id == there.c.run_id,
        again.c.task_id == there.c.task_id,
        again.c.map_index == there.c.map_index,
        again.c.outcome.is_not(None),
    )
    is_planned = select(again.c.run_id).where(*planned).correlate(there).exists()
    is_lost = select(again.c.run_id).where(*planned, again.c.outcome.in_(LOST)).correlate(there).exists()
    ended = and_(previous.c.state.in_(FINISHED_RUN_STATES), ~_is_in_plan(plan, previous))
    not_successful = or_(there.c.state.is_(None), there.c.state.not_in(SUCCESSFUL_STATES))
    for_good = or_(there.c.state.in_(("failed", "upstream_failed", "removed")), ended)
    return or_(is_lost, and_(not_successful, for_good, ~is_planned))


def _is_in_plan(plan: PlanTables, previous: Any) -> ColumnElement[bool]:
    """Whether the previous run goes on because of the plan."""
    run = plan.runs.alias("run_before")
    found = select(run.c.run_id).where(
        run.c.plan_id == plan.plan_id,
        run.c.run_id == previous.c.run_id,
        run.c.task_instances > 0,
        run.c.after_state.in_(UNFINISHED_RUN_STATES),
    )
    return found.correlate(previous).exists()


def _is_created(plan: PlanTables, previous: Any) -> ColumnElement[bool]:
    again, rows = plan.task_instances.alias("again"), plan.task_instances
    found = select(again.c.run_id).where(
        again.c.plan_id == plan.plan_id,
        again.c.run_id == previous.c.run_id,
        again.c.task_id == rows.c.task_id,
        again.c.effect.in_(PENDING_EFFECTS),
    )
    return found.correlate(previous, rows).exists()


def _waits_for_planned(plan: PlanTables, rule: PreviousRunRule, previous: Any) -> ColumnElement[bool]:
    """Whether its task is planned in the previous run, by the same rule, and goes on there."""
    again, run, rows = plan.task_instances.alias("again"), plan.runs.alias("run_before"), plan.task_instances
    found = (
        select(again.c.run_id)
        .select_from(again.join(run, and_(run.c.plan_id == again.c.plan_id, run.c.run_id == again.c.run_id)))
        .where(
            again.c.plan_id == plan.plan_id,
            again.c.run_id == previous.c.run_id,
            again.c.task_id == rows.c.task_id,
            again.c.outcome.in_(GOES_ON),
            run.c.uses_dag_version_id.in_(rule.versions),
        )
    )
    return found.correlate(previous, rows).exists()
