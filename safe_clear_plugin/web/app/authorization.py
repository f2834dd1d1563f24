"""Which plans and DAGs the caller of a request gets to."""

from __future__ import annotations

from uuid import UUID

from safe_clear_plugin.airflow_api.auth import permissions, rights
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.plan import PlanSummary, TeamDag
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.storage.plans import plan_reader
from safe_clear_plugin.web.app.identity import caller


def readable_plan(plan_id: str) -> PlanSummary:
    """Return a plan that the caller may see; to anyone else it does not exist."""
    try:
        key = UUID(hex=plan_id)
    except ValueError:
        raise _no_plan() from None
    with new_session() as session:
        plan = plan_reader.get(key, session)
    if plan is None:
        raise _no_plan()
    _require_may_read(plan.dag, _no_plan())
    return plan


def clearable_plan(plan_id: str) -> PlanSummary:
    """Return a plan whose DAG the caller may clear."""
    plan = readable_plan(plan_id)
    _require_may_clear(plan.dag)
    return plan


def may_clear(plan: PlanSummary) -> bool:
    """Whether the caller, who may see the plan, may also carry it out."""
    return permissions.may_clear(plan.dag, caller().user)


def require_may_clear(dag_id: str) -> None:
    """Refuse a caller who may not clear the DAG; to one who may not see it, it does not exist."""
    dag = TeamDag(dag_id)
    _require_may_read(dag, Refused(404, Problem("This Dag doesn't exist.", "Choose one from the list.")))
    _require_may_clear(dag)


def _require_may_read(dag: TeamDag, there_is_none: Refused) -> None:
    user = caller().user
    if permissions.may_read(dag, user):
        return
    if not permissions.may_see_dag(dag, user):
        raise there_is_none
    raise Refused(
        403,
        Problem(
            f"You can see {dag.dag_id}, but not its dag runs and task instances.",
            f"Ask an Airflow admin for {rights.to_read(dag.dag_id, user)}.",
        ),
    )


def _require_may_clear(dag: TeamDag) -> None:
    user = caller().user
    if not permissions.may_clear(dag, user):
        raise Refused(
            403,
            Problem(
                f"You can see {dag.dag_id}, but you can't clear its task instances.",
                f"Ask an Airflow admin for {rights.to_clear(dag.dag_id, user)}.",
            ),
        )


def _no_plan() -> Refused:
    return Refused(404, Problem("This plan doesn't exist.", "It may have expired."))
