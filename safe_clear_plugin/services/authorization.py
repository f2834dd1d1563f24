"""The plans and DAGs that a user may see and clear, and the permissions to ask an admin for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions, rights
from safe_clear_plugin.airflow_api.auth.permissions import BaseUser, FoundDags
from safe_clear_plugin.airflow_api.auth.teams import dags_by_id
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.airflow_api.selection.chosen_dags import dags_with
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.plan import PlanSummary, TeamDag
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services.plans import get_plan, plan_not_found


def readable_plan(plan_id: str, user: BaseUser) -> PlanSummary:
    """Return a plan that the user may see; to anyone else it does not exist.

    :raises Refused: 404 without such a plan, or DAG; 403 when the user may see the DAG, but not its runs
    """
    plan = get_plan(plan_id)
    _require_may_read(plan.dag, user, plan_not_found())
    return plan


def clearable_plan(plan_id: str, user: BaseUser) -> PlanSummary:
    """Return a plan whose DAG the user may clear.

    :raises Refused: as :func:`readable_plan`, and 403 when the user may see it, but not clear
    """
    plan = readable_plan(plan_id, user)
    _require_may_clear(plan.dag, user)
    return plan


def may_clear(plan: PlanSummary, user: BaseUser) -> bool:
    """Whether the user, who may see the plan, may also apply it."""
    return permissions.may_clear(plan.dag, user)


def require_may_clear(dag_id: str, user: BaseUser) -> None:
    """Refuse a user who may not clear the DAG; to one who may not see it, it does not exist.

    :raises Refused: 403 or 404
    """
    dag = TeamDag(dag_id)
    _require_may_read(
        dag, user, Refused(404, Problem("This Dag doesn't exist.", "Choose one from the list."))
    )
    _require_may_clear(dag, user)


def search_clearable_dags(text: str, user: BaseUser, limit: int) -> FoundDags:
    """Return the first DAGs that the user may clear and whose id contains the text."""
    with new_session() as session:
        return permissions.search_clearable_dags(text, user, session, limit)


def may_clear_any(user: BaseUser) -> bool:
    """Whether the user may clear a DAG.

    The answer is yes if there was no time to ask for every DAG, or if Airflow has none yet.
    """
    with new_session() as session:
        found = permissions.search_clearable_dags("", user, session, 1)
        return bool(found.dags) or not found.complete or not dags_with(session)


def may_pause(plan: PlanSummary, user: BaseUser) -> bool:
    """Whether the user may pause the plan's DAG."""
    return permissions.may_edit_dag(plan.dag, user)


def require_may_pause(plan: PlanSummary, user: BaseUser) -> None:
    """Refuse a user who may not pause the plan's DAG.

    :raises Refused: 403
    """
    if not may_pause(plan, user):
        raise Refused(
            403,
            Problem(f"You can’t pause {plan.dag_id}.", f"Ask an Airflow admin for {rights.to_pause(user)}."),
        )


def only_reads(dag_id: str, user: BaseUser) -> bool:
    """Whether the user may see the DAG's task instances but not clear them.

    False for a visitor who is not logged in: after the login, that person may be allowed to clear.
    """
    if permissions.is_anonymous(user):
        return False
    dag = TeamDag(dag_id)
    return permissions.may_read(dag, user) and not permissions.may_clear(dag, user)


def missing_rights(dag_id: str, user: BaseUser) -> str:
    """Return what the user lacks to clear the DAG; any DAG when no id is given."""
    return rights.to_clear(dag_id, user)


def redact(plan: PlanSummary, user: BaseUser, session: Session) -> PlanSummary:
    """Return the plan with those links only to DAGs that the user may read; others are counted.

    The findings of a plan link to other DAGs. The user may not know that these exist.
    """
    others = {
        link.id
        for finding in plan.findings
        for link in finding.links
        if link.kind == "dag" and link.id != plan.dag_id
    }
    if not others:
        return plan
    readable = {plan.dag_id, *readable_dag_ids(others, user, session)}
    return replace(plan, findings=tuple(_readable(finding, readable) for finding in plan.findings))


def readable_dag_ids(dag_ids: Collection[str], user: BaseUser, session: Session) -> set[str]:
    """Return the ids of those DAGs that the user may read."""
    found = permissions.readable_dags(dags_by_id(sorted(dag_ids), session), user, session)
    return {dag.dag_id for dag in found.dags}


def _readable(finding: Finding, dag_ids: set[str]) -> Finding:
    links = tuple(link for link in finding.links if link.kind != "dag" or link.id in dag_ids)
    hidden = len(finding.links) - len(links)
    if not hidden:
        return finding
    more = f"You can't see {count(hidden, 'Dag')} of these."
    return replace(finding, links=links, detail=f"{finding.detail} {more}")


def _require_may_read(dag: TeamDag, user: BaseUser, not_found: Refused) -> None:
    if permissions.may_read(dag, user):
        return
    if not permissions.may_see_dag(dag, user):
        raise not_found
    raise Refused(
        403,
        Problem(
            f"You can see {dag.dag_id}, but not its dag runs and task instances.",
            f"Ask an Airflow admin for {rights.to_read(dag.dag_id, user)}.",
        ),
    )


def _require_may_clear(dag: TeamDag, user: BaseUser) -> None:
    if not permissions.may_clear(dag, user):
        raise Refused(
            403,
            Problem(
                f"You can see {dag.dag_id}, but you can't clear its task instances.",
                f"Ask an Airflow admin for {rights.to_clear(dag.dag_id, user)}.",
            ),
        )
