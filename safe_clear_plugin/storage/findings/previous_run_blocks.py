"""Writing which task instances wait for ones in an earlier run that will not succeed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables
from safe_clear_plugin.airflow_api.scheduling.blocked_for_good import blocked_for_good
from safe_clear_plugin.airflow_api.scheduling.depends_on_past import PreviousRunRule
from safe_clear_plugin.core.effects import PENDING_EFFECTS
from safe_clear_plugin.core.outcomes import GOES_ON, Outcome, OutcomeReason

Changed = dict[str, frozenset[int]]


def write(plan: PlanTables, rules: Sequence[PreviousRunRule], dag_id: str, session: Session) -> Changed:
    """Write what earlier runs block for good; return the tasks, each with its shapes."""
    rows = plan.task_instances
    found: Changed = {}
    for rule in rules:
        blocked = blocked_for_good(plan, rule, dag_id).subquery("blocked")
        here = (
            rows.c.plan_id == plan.plan_id,
            rows.c.run_id == blocked.c.run_id,
            rows.c.task_id == blocked.c.task_id,
            rows.c.effect.in_(PENDING_EFFECTS),
            rows.c.outcome.in_(GOES_ON),
        )
        query = select(rows.c.task_id, plan.runs.c.shape).select_from(plan.joined()).where(*here).distinct()
        if tasks := session.execute(query).all():
            never = {"outcome": Outcome.NEVER_STARTS, "outcome_reason": OutcomeReason.PREVIOUS_RUN}
            session.execute(update(rows).where(*here).values(**never))
        for task_id, shape in tasks:
            found[task_id] = found.get(task_id, frozenset()) | {shape}
    return found
