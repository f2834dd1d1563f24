"""The progress and the results of the re-runs of a plan's dag runs, from Airflow's rows.

A run is done once none of its cleared task instances can still change by itself, and the run itself has
ended where the clear opened it. It failed if a cleared task instance failed, or the run did, and the plan
neither foresaw that nor left it open. If the plan foresaw that all remaining task instances of a run never
start, or wait for a person, the run waits: it holds up no other run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, func, not_, or_, select, type_coerce
from sqlalchemy.types import String

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.joins import of_dag
from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.outcomes import MAY_FAIL, Outcome, OutcomeReason, RunOutcome
from safe_clear_plugin.core.states import DONE_STATES, FINISHED_RUN_STATES, UNFINISHED_RUN_STATES
from safe_clear_plugin.core.waves import RunProgress
from safe_clear_plugin.storage.rows import in_runs, is_planned_run, planned_with_run, same_task_instance
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

FAILED_STATES = ("failed", "upstream_failed")
NOT_UNDER_WAY = ("scheduled", "deferred", "awaiting_input")
"""States, besides no state, in which a task instance stays until a person or a program acts on it."""

rows_, ti = plan_task_instance, task_instance


def is_failure() -> ColumnElement[bool]:
    """Whether a cleared task instance failed, and the plan had not foreseen that it does, or may.

    What a ``LatestOnlyOperator`` skips can be upstream_failed until then.
    """
    may = rows_.c.outcome_reason.in_((*MAY_FAIL, OutcomeReason.LATEST_ONLY))
    foreseen = and_(ti.c.state == "upstream_failed", or_(rows_.c.outcome == Outcome.UPSTREAM_FAILED, may))
    return and_(ti.c.state.in_(FAILED_STATES), not_(func.coalesce(foreseen, False)))


def verdicts(plan_id: UUID, dag_id: str, open_: Sequence[RunProgress]) -> Subquery:
    """Select the plan's cleared runs that were not judged, or as ``open_``, each with its ``verdict``.

    To be read within :func:`~safe_clear_plugin.airflow_api.platform.joins.hash_joins`.
    """
    of_run = _counts_by_run(plan_id, dag_id, open_).subquery("of_run")
    same_run = and_(
        plan_run.c.plan_id == plan_id,
        plan_run.c.plan_id == of_run.c.plan_id,
        plan_run.c.run_id == of_run.c.run_id,
    )
    joined = of_run.join(plan_run, same_run).outerjoin(
        dag_run, and_(dag_run.c.id == plan_run.c.dag_run_id, is_planned_run(dag_run, plan_id))
    )
    verdict = type_coerce(_verdict(of_run), String).label("verdict")
    return select(plan_run, verdict).select_from(joined).subquery("judged")


def _counts_by_run(plan_id: UUID, dag_id: str, open_: Sequence[RunProgress]) -> Select[Any]:
    undone = or_(ti.c.state.is_(None), ti.c.state.not_in(DONE_STATES))
    is_blocked = and_(
        rows_.c.outcome.in_((Outcome.NEVER_STARTS, Outcome.WAITS)),
        or_(ti.c.state.is_(None), ti.c.state.in_(NOT_UNDER_WAY)),
    )
    joined = planned_with_run().outerjoin(
        ti,
        and_(of_dag(ti, dag_id), same_task_instance(ti, rows_), in_runs(ti, plan_id, only_open=True)),
    )
    return (
        select(
            plan_run.c.plan_id,
            plan_run.c.run_id,
            _count(undone).label("undone"),
            _count(is_failure()).label("failures"),
            _count(and_(undone, is_blocked)).label("blocked"),
            _count(and_(undone, ti.c.state.is_not(None), not_(func.coalesce(is_blocked, False)))).label(
                "under_way"
            ),
            func.max(ti.c.end_date).label("last_end"),
        )
        .select_from(joined)
        .where(
            plan_run.c.plan_id == plan_id,
            rows_.c.plan_id == plan_id,
            rows_.c.effect.in_(CLEARED_EFFECTS),
            plan_run.c.applied_at.is_not(None),
            plan_run.c.undone_at.is_(None),
            or_(plan_run.c.rerun.is_(None), plan_run.c.rerun.in_(open_)),
        )
        .group_by(plan_run.c.plan_id, plan_run.c.run_id)
    )


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _verdict(of_run: Subquery) -> ColumnElement[str]:
    run, planned = dag_run.c, plan_run.c
    was_opened = planned.after_state.in_(UNFINISHED_RUN_STATES)
    has_ended = and_(was_opened, run.state.in_(FINISHED_RUN_STATES))
    never_ends = func.coalesce(planned.outcome == RunOutcome.NEVER_STARTS, False)
    # It was unfinished before the clear, or the clear left it closed: its end says nothing about the clear.
    ends_otherwise = or_(planned.state.in_(UNFINISHED_RUN_STATES), not_(was_opened), never_ends)
    is_over = or_(has_ended, and_(of_run.c.undone == 0, ends_otherwise))
    may_fail = func.coalesce(
        or_(planned.outcome == RunOutcome.FAILS, planned.outcome_reason.in_(MAY_FAIL)), False
    )
    run_failed = and_(has_ended, run.state == "failed", not_(may_fail))
    has_failed = or_(of_run.c.failures > 0, run_failed)
    # Where the scheduler has not looked since the last end, it may be about to schedule what is left.
    was_looked_at = and_(
        run.last_scheduling_decision.is_not(None),
        or_(of_run.c.last_end.is_(None), run.last_scheduling_decision >= of_run.c.last_end),
    )
    is_stuck = and_(of_run.c.under_way == 0, or_(never_ends, and_(of_run.c.blocked > 0, was_looked_at)))
    return case(
        (run.id.is_(None), RunProgress.WAITING.value),
        (and_(has_failed, or_(is_over, is_stuck)), RunProgress.FAILED.value),
        (is_over, RunProgress.DONE.value),
        (has_failed, RunProgress.FAILING.value),
        (is_stuck, RunProgress.WAITING.value),
        else_=RunProgress.RUNNING_AGAIN.value,
    )
