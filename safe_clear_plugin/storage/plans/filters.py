"""The filters of plans and of their rows, as SQL conditions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select

from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.plan import TeamDag
from safe_clear_plugin.core.plan_filters import PlanFilter, RowFilter
from safe_clear_plugin.core.states import NO_STATE
from safe_clear_plugin.storage.plans.plan_status import shown_status
from safe_clear_plugin.storage.rows import run_date
from safe_clear_plugin.storage.tables import plan, plan_run, plan_task_instance

rows_ = plan_task_instance


def plan_conditions(wanted: PlanFilter) -> Iterator[ColumnElement[bool]]:
    """Yield conditions on the plan table."""
    yield _belongs_to(wanted.dags)
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


def _belongs_to(dags: Sequence[TeamDag]) -> ColumnElement[bool]:
    by_team: dict[str | None, list[str]] = {}
    for dag in dags:
        by_team.setdefault(dag.team_name, []).append(dag.dag_id)
    return or_(
        false(),
        *(
            and_(plan.c.team_name.is_not_distinct_from(team), plan.c.dag_id.in_(dag_ids))
            for team, dag_ids in by_team.items()
        ),
    )


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
