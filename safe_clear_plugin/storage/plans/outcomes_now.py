"""The outcomes that a plan foresaw, with the states now."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.joins import is_fixed, of_dag
from safe_clear_plugin.core.effects import PLANNED_EFFECTS
from safe_clear_plugin.core.foreseen import MISSING, OutcomeNow
from safe_clear_plugin.core.states import FINISHED_RUN_STATES
from safe_clear_plugin.storage.rows import in_runs, is_planned_run, planned_with_run, same_task_instance
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance


def outcomes_now(plan_id: UUID, dag_id: str, session: Session) -> list[OutcomeNow]:
    """Count what was planned in the runs that are cleared, and not undone, by outcome and state now.

    To be called within :func:`~safe_clear_plugin.airflow_api.platform.joins.hash_joins`.
    """
    ti = task_instance
    state = case((ti.c.id.is_(None), MISSING), else_=ti.c.state)
    # A run that stays finished is not run again: nothing in it is over because of the clear.
    is_over = and_(
        dag_run.c.state.in_(FINISHED_RUN_STATES), plan_run.c.after_state.not_in(FINISHED_RUN_STATES)
    )
    joined = (
        planned_with_run()
        .join(dag_run, and_(dag_run.c.id == plan_run.c.dag_run_id, is_planned_run(dag_run, plan_id)))
        .outerjoin(ti, and_(of_dag(ti, dag_id), same_task_instance(ti, rows_), in_runs(ti, plan_id)))
    )
    result = session.execute(
        select(rows_.c.outcome, state.label("state"), is_over.label("is_over"), func.count().label("n"))
        .select_from(joined)
        .where(
            is_fixed(plan_run.c.plan_id, plan_id),
            rows_.c.effect.in_(PLANNED_EFFECTS),
            plan_run.c.applied_at.is_not(None),
            plan_run.c.undone_at.is_(None),
        )
        .group_by(rows_.c.outcome, state, is_over)
        .order_by(rows_.c.outcome, state)
    )
    return [OutcomeNow(row.outcome, row.state, bool(row.is_over), row.n) for row in result]
