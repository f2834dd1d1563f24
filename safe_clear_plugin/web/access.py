"""Which plans and DAGs the caller of a request gets to."""

from __future__ import annotations

from uuid import UUID

from safe_clear_plugin.airflow_api import auth
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.storage import reading
from safe_clear_plugin.web.identity import caller


def readable_plan(plan_id: str) -> PlanSummary:
    """Return a plan that the caller may see; to anyone else it does not exist."""
    try:
        key = UUID(hex=plan_id)
    except ValueError:
        raise _no_plan() from None
    with new_session() as session:
        plan = reading.get(key, session)
    if plan is None or not auth.may_read(plan.dag_id, caller().user):
        raise _no_plan()
    return plan


def clearable_plan(plan_id: str) -> PlanSummary:
    """Return a plan whose DAG the caller may clear."""
    plan = readable_plan(plan_id)
    require_may_clear(plan.dag_id)
    return plan


def require_may_clear(dag_id: str) -> None:
    """Refuse a caller who may not clear the DAG; to one who may not see it, it does not exist."""
    user = caller().user
    if not auth.may_read(dag_id, user):
        raise Refused(404, Problem("There is no such DAG.", "Choose one from the list."))
    if not auth.may_clear(dag_id, user):
        raise Refused(
            403,
            Problem(
                f"You may see {dag_id}, but you may not clear its task instances.",
                "Ask an Airflow admin for the permission to edit task instances of this DAG.",
            ),
        )


def _no_plan() -> Refused:
    return Refused(404, Problem("There is no such plan.", "It may have expired and been removed."))
