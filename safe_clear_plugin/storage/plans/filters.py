"""The filters of plans and of their rows, as SQL conditions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, func, literal, or_, select

from safe_clear_plugin.airflow_api.platform.key_table import are_among
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.core.plan import TeamDag
from safe_clear_plugin.core.plan_filters import PlanFilter, RowFilter
from safe_clear_plugin.core.states import NO_STATE
from safe_clear_plugin.storage.plans.plan_status import shown_status
from safe_clear_plugin.storage.rows import is_cleared_run, run_date
from safe_clear_plugin.storage.tables import plan, plan_run, plan_task_instance

rows_ = plan_task_instance


def plan_conditions(wanted: PlanFilter) -> Iterator[ColumnElement[bool]]:
    """Yield conditions on the plan table."""
    yield belongs_to(wanted.dags)
    if wanted.user:
        yield or_(
            plan.c.created_by_name.icontains(wanted.user, autoescape=True),
            plan.c.applied_by_name.icontains(wanted.user, autoescape=True),
        )
    if wanted.user_id:
        yield or_(plan.c.created_by == wanted.user_id, plan.c.applied_by == wanted.user_id)
    if wanted.since:
        yield plan.c.created_at >= wanted.since
    if wanted.until:
        yield plan.c.created_at <= wanted.until
    if wanted.status:
        yield shown_status(wanted.now) == wanted.status
    yield from touches(wanted.task_id, wanted.run_id, wanted.map_index)


def touches(
    task_id: str, run_id: str, map_index: int | None, *, only_cleared: bool = False
) -> Iterator[ColumnElement[bool]]:
    """Yield whether a plan clears, or has cleared, the task instance, one of the task, or one of the run.

    The query goes run by run, so that the key of the plan's task instances finds the task in each run. It has
    a limit; without it PostgreSQL would use a join that reads all rows of all plans.
    """
    if not task_id and not run_id:
        return
    run, row = plan_run.alias("run"), plan_task_instance.alias("one")
    found = select(literal(1)).where(run.c.plan_id == plan.c.id, is_cleared_run(run))
    if run_id:
        found = found.where(run.c.run_id == run_id)
    if only_cleared:
        found = found.where(run.c.applied_at.is_not(None))
    if task_id:
        of_task = select(literal(1)).where(
            row.c.plan_id == run.c.plan_id,
            row.c.run_id == run.c.run_id,
            row.c.task_id == task_id,
            row.c.effect.in_(CLEARED_EFFECTS),
        )
        if map_index is not None:
            of_task = of_task.where(row.c.map_index == map_index)
        found = found.where(of_task.limit(1).scalar_subquery().is_not(None))
    yield found.limit(1).scalar_subquery().is_not(None)


def belongs_to(dags: Sequence[TeamDag], of: FromClause = plan) -> ColumnElement[bool]:
    """Whether a plan is of one of the DAGs; ``of`` may be an alias of the plans. No team's name is empty."""
    key = (of.c.dag_id, func.coalesce(of.c.team_name, ""))
    return are_among(key, ((dag.dag_id, dag.team_name or "") for dag in dags))


def row_conditions(wanted: RowFilter) -> Iterator[ColumnElement[bool]]:
    """Yield conditions on the task instances of a plan."""
    if wanted.task:
        yield rows_.c.task_id.contains(wanted.task, autoescape=True)
    if wanted.run:
        yield rows_.c.run_id.contains(wanted.run, autoescape=True)
    if wanted.state:
        yield func.coalesce(rows_.c.state, NO_STATE) == wanted.state
    if wanted.effect:
        yield rows_.c.effect.in_([effect for effect in Effect if wanted.effect in (effect, effect.shown)])
    if wanted.outcome:
        yield rows_.c.outcome == wanted.outcome
    if wanted.why:
        yield rows_.c.why.contains(wanted.why, autoescape=True)
    if wanted.task_id:
        yield rows_.c.task_id == wanted.task_id
    if wanted.run_id:
        yield rows_.c.run_id == wanted.run_id
    if wanted.map_index is not None:
        yield rows_.c.map_index == wanted.map_index
    if wanted.run_from or wanted.run_to:
        yield _dated_runs(wanted).exists()


def _dated_runs(wanted: RowFilter) -> Select[Any]:
    run = plan_run.alias("run")
    date = run_date(run)
    found = select(run.c.run_id).where(run.c.plan_id == rows_.c.plan_id, run.c.run_id == rows_.c.run_id)
    if wanted.run_from:
        found = found.where(date >= wanted.run_from)
    return found.where(date < wanted.run_to) if wanted.run_to else found
