"""Unknown outcomes further downstream: an outcome that depends on an unknown outcome is unknown too."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, FromClause, and_, false, func, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Upstream
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import ONE_RUN_IS_ENOUGH, SKIPS_BEHIND_SKIPPED
from safe_clear_plugin.core.effects import PENDING_EFFECTS
from safe_clear_plugin.core.outcomes import GOES_ON, Outcome, OutcomeReason
from safe_clear_plugin.storage.findings.task_relations import predicted_state
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance
DIRECT = ("upstream", "one_upstream")
ALL_BEHIND = ("setup", "mapped")
"""Kinds of tasks that skip what lies directly downstream, under any trigger rule."""


def leave_open(scope: PlanScope, task: Upstream, session: Session) -> bool:
    """Write that nobody knows of the task's instances behind open ones; return whether there are any."""
    mine = rows_.alias("behind")
    found = (
        select(mine.c.run_id, mine.c.map_index)
        .select_from(
            mine.join(
                plan_run, and_(mine.c.plan_id == plan_run.c.plan_id, mine.c.run_id == plan_run.c.run_id)
            )
        )
        .where(
            mine.c.plan_id == scope.plan_id,
            mine.c.task_id == task.task_id,
            mine.c.effect.in_(PENDING_EFFECTS),
            *scope.runs(),
            mine.c.outcome == Outcome.RUNS,
            mine.c.foreseen_state.is_(None),
            _may_be_skipped(scope, mine, task),
        )
        .subquery("open")
    )
    written = update(rows_).where(
        rows_.c.plan_id == scope.plan_id,
        rows_.c.task_id == task.task_id,
        rows_.c.run_id == found.c.run_id,
        rows_.c.map_index == found.c.map_index,
    )
    again = OutcomeReason.BRANCH_DECIDES_AGAIN.value
    values = written.values(outcome=Outcome.UNKNOWN.value, outcome_reason=again)
    return count_written(values, session) > 0


def _may_be_skipped(scope: PlanScope, mine: FromClause, task: Upstream) -> ColumnElement[bool]:
    always = _exists_upstream(mine, task, ALL_BEHIND)
    if task.trigger_rule in SKIPS_BEHIND_SKIPPED:
        return or_(always, _exists_upstream(mine, task, DIRECT))
    if task.trigger_rule in ONE_RUN_IS_ENOUGH:
        return or_(always, and_(_exists_upstream(mine, task, DIRECT), ~_one_runs(scope, mine, task)))
    return always


def _exists_upstream(mine: FromClause, task: Upstream, kinds: Sequence[str]) -> ColumnElement[bool]:
    """Whether a task instance that runs or is skipped is upstream of one, by relations of some kinds."""
    up = rows_.alias("open_upstream")
    related = _related(up, mine, task, kinds)
    if related is None:
        return false()
    again = OutcomeReason.BRANCH_DECIDES_AGAIN
    of_run = (up.c.plan_id == mine.c.plan_id, up.c.run_id == mine.c.run_id)
    return exists_row(up, *of_run, related, up.c.outcome == Outcome.UNKNOWN, up.c.outcome_reason == again)


def _one_runs(scope: PlanScope, mine: FromClause, task: Upstream) -> ColumnElement[bool]:
    """Whether something directly upstream has succeeded and stays so, or runs for certain."""
    up, planned = task_instance.alias("up"), rows_.alias("planned")
    before, after = _related(up, mine, task, DIRECT), _related(planned, mine, task, DIRECT)
    if before is None or after is None:
        return false()
    return or_(
        exists_row(
            up,
            up.c.dag_id == scope.dag_id,
            up.c.run_id == mine.c.run_id,
            before,
            func.coalesce(predicted_state(up, scope.plan_id), "") == "success",
        ),
        exists_row(
            planned,
            planned.c.plan_id == mine.c.plan_id,
            planned.c.run_id == mine.c.run_id,
            after,
            planned.c.outcome.in_(GOES_ON),
        ),
    )


def _related(
    up: FromClause, mine: FromClause, task: Upstream, kinds: Sequence[str]
) -> ColumnElement[bool] | None:
    """Return the condition on a task instance upstream of one in the same run; ``None`` if none can be."""
    related = [relation for relation in task.relations if relation.kind in kinds]
    apart = sorted({relation.related_task_id for relation in related if relation.same_map_index})
    whole = sorted({relation.related_task_id for relation in related if not relation.same_map_index})
    same = or_(up.c.map_index == mine.c.map_index, up.c.map_index < 0, mine.c.map_index < 0)
    found: list[ColumnElement[bool]] = []
    if whole:
        found.append(up.c.task_id.in_(whole))
    if apart:
        found.append(and_(up.c.task_id.in_(apart), same))
    return or_(*found) if found else None
