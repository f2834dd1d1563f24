"""``services.authorization`` for the caller of the current request."""

from __future__ import annotations

from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services import authorization
from safe_clear_plugin.web.app.identity import caller


def readable_plan(plan_id: str) -> PlanSummary:
    """Return a plan that the caller may see; to anyone else it does not exist."""
    return authorization.readable_plan(plan_id, caller().user)


def clearable_plan(plan_id: str) -> PlanSummary:
    """Return a plan whose DAG the caller may clear."""
    return authorization.clearable_plan(plan_id, caller().user)


def may_clear(plan: PlanSummary) -> bool:
    """Whether the caller, who may see the plan, may also apply it."""
    return authorization.may_clear(plan, caller().user)


def require_may_clear(dag_id: str) -> None:
    """Refuse a caller who may not clear the DAG; to one who may not see it, it does not exist."""
    authorization.require_may_clear(dag_id, caller().user)


def missing_rights(dag_id: str = "") -> str:
    """Return what the caller lacks to clear the DAG; any DAG when no id is given."""
    return authorization.missing_rights(dag_id, caller().user)


def redact(plan: PlanSummary, session: Session) -> PlanSummary:
    """Return the plan without links to DAGs that the caller may not read."""
    return authorization.redact(plan, caller().user, session)
