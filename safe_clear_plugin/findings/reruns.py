"""Cleared task instances that had already succeeded, and cleared ones that can never run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.joins import exists_row, hash_joins
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.core.finding import NOT_AFFECTED, Affected, Finding
from safe_clear_plugin.core.formats import count, verb
from safe_clear_plugin.core.inclusion import NOT_IN_DAG
from safe_clear_plugin.core.outcomes import Outcome
from safe_clear_plugin.core.states import counted_states
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.wording import in_runs, is_or_are, join_tasks
from safe_clear_plugin.storage.tables import plan_run, plan_task, plan_task_instance


@dataclass(frozen=True, slots=True)
class RerunFacts:
    """The cleared task instances by state, and those without a task in the DAG version used."""

    cleared: Affected = NOT_AFFECTED
    not_in_dag: Affected = NOT_AFFECTED
    helpers: int = 0
    """Of the cleared ones that succeeded: setups and teardowns, which do no work of their own again."""
    not_run: int = 0
    """Of the others that succeeded: those that are foreseen not to run, to wait or to resume a job."""


def collect_facts(plan: PlanContext) -> RerunFacts:
    """Count the cleared task instances by state, and those without a task: only whole runs have such."""
    by_state: Counter[str | None] = Counter()
    for change in plan.changes:
        if change.effect in CLEARED_EFFECTS:
            by_state[change.before] += change.count
    states = tuple(sorted(by_state.items(), key=lambda item: (-item[1], item[0] or "")))
    takes_whole_runs = not plan.selection.names_tasks
    return RerunFacts(
        cleared=Affected(count=by_state.total(), runs=plan.dag_runs, states=states),
        not_in_dag=count_not_in_dag(plan.plan_id, plan.session) if takes_whole_runs else NOT_AFFECTED,
        helpers=_count_helpers(plan) if by_state["success"] else 0,
        not_run=_count_not_run(plan) if by_state["success"] else 0,
    )


def _count_helpers(plan: PlanContext) -> int:
    """Count the cleared setups and teardowns that succeeded."""
    helpers = plan.setups_and_teardowns
    return _count_succeeded(plan, plan_task_instance.c.task_id.in_(sorted(helpers))) if helpers else 0


def _count_not_run(plan: PlanContext) -> int:
    """Count the other cleared ones that succeeded and do not simply run again."""
    rows = plan_task_instance
    helps = rows.c.task_id.in_(sorted(plan.setups_and_teardowns))
    return _count_succeeded(plan, ~helps, rows.c.outcome.not_in((Outcome.RUNS, Outcome.UNKNOWN)))


def _count_succeeded(plan: PlanContext, *conditions: ColumnElement[bool]) -> int:
    rows = plan_task_instance
    query = select(func.count()).where(
        rows.c.plan_id == plan.plan_id,
        rows.c.effect.in_(CLEARED_EFFECTS),
        rows.c.state == "success",
        *conditions,
    )
    return plan.session.scalar(query) or 0


def count_not_in_dag(plan_id: UUID, session: Session) -> Affected:
    """Count cleared task instances whose task the DAG version used does not have."""
    rows = plan_task_instance
    has_task = exists_row(
        plan_task,
        plan_task.c.plan_id == plan_id,
        plan_task.c.shape == plan_run.c.shape,
        plan_task.c.task_id == rows.c.task_id,
    )
    without = (
        select(rows.c.run_id, rows.c.task_id, rows.c.state)
        .join(plan_run, and_(plan_run.c.plan_id == rows.c.plan_id, plan_run.c.run_id == rows.c.run_id))
        .where(rows.c.plan_id == plan_id, rows.c.effect.in_(CLEARED_EFFECTS), ~has_task)
        .subquery("without_task")
    )
    by_task = (without.c.task_id, without.c.state)
    with hash_joins(session):
        tally = session.execute(select(*by_task, func.count()).group_by(*by_task)).all()
        runs = session.scalar(select(func.count(without.c.run_id.distinct()))) if tally else 0
    return Affected.of(((task_id, state, number) for task_id, state, number in tally), runs or 0)


def success_redone(facts: RerunFacts) -> Finding | None:
    """Find succeeded task instances that will run again."""
    cleared = facts.cleared
    succeeded = dict(cleared.states).get("success", 0) - facts.helpers - facts.not_run
    if not succeeded:
        return None
    others = [(state, number) for state, number in cleared.states if state != "success"]
    named = [counted_states(others)] if others else []
    if facts.helpers:
        noun = "setup or teardown" if facts.helpers == 1 else "setups and teardowns"
        named.append(f"{facts.helpers:,} {noun}")
    if facts.not_run:
        named.append(f"{facts.not_run:,} Success with another outcome")
    rest = f" The others: {', '.join(named)}." if named else ""
    return Finding(
        "success_redone",
        "warn",
        f"{_how_many(succeeded, cleared.count)} already succeeded and will run again",
        f"{verb(succeeded, 'It runs', 'They run')} again with today's code and data and "
        f"{verb(succeeded, 'writes its', 'write their')} results again.{rest}",
        succeeded,
        remedy="To leave them alone, choose the states to clear, such as Failed and Upstream Failed.",
        filter={"state": "success", "effect": Effect.CLEAR.value},
    )


def _how_many(number: int, of: int) -> str:
    if number < of:
        return f"{number:,} of {of:,}"
    return "The only task instance" if of == 1 else f"All {of:,} task instances"


def not_in_dag(facts: RerunFacts) -> Finding | None:
    """Find task instances whose task is no longer in the DAG: they never run."""
    gone = facts.not_in_dag
    if not gone.count:
        return None
    return Finding(
        "not_in_dag",
        "warn",
        f"{count(gone.count, 'cleared task instance')} will be marked Removed: {join_tasks(gone.tasks)} "
        f"{is_or_are(len(gone.tasks))} not in the Dag version used {in_runs(gone.runs)}",
        "The scheduler marks a task instance without a task as Removed and never runs it. Its present state, "
        "which shows that it once ran, will be lost unless you undo the clear before that.",
        gone.count,
        remedy="Exclude these tasks.",
        filter={"why": NOT_IN_DAG.words},
    )


AREA = Area(
    "reruns",
    collect_facts,
    (
        Check("success_redone", "succeeded task instances that will run again", success_redone),
        Check("not_in_dag", "tasks that are no longer in the Dag", not_in_dag),
    ),
)
