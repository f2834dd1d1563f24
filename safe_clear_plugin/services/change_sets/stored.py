"""Reads stored change sets, and checks which of them a user may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions, rights
from safe_clear_plugin.airflow_api.auth.permissions import BaseUser
from safe_clear_plugin.airflow_api.auth.teams import dags_by_id
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.change_sets.refusals import RefusedDag, refuse
from safe_clear_plugin.services.lookup import find_by_id
from safe_clear_plugin.storage.change_sets import records


def change_set_not_found() -> Refused:
    """Return the refusal for a change set that does not exist, or that the caller may not see."""
    return Refused(404, Problem("This change set doesn't exist.", "It may have expired."))


def get_change_set(set_id: str) -> ChangeSet:
    """Return a change set as it is now.

    :raises Refused: 404 when it is gone, or ``set_id`` is not the id of a change set
    """
    return find_by_id(set_id, records.get, change_set_not_found)


def readable_change_set(set_id: str, user: BaseUser) -> ChangeSet:
    """Return a change set if the user may read all its DAGs. For a user who may read none, it does not exist.

    :raises Refused: 404; 403 when the user may read some of the DAGs, without naming the others
    """
    found = get_change_set(set_id)
    readable = [plan for plan in found.plans if permissions.may_read(plan.dag, user)]
    if not readable:
        raise change_set_not_found()
    if len(readable) < len(found.plans):
        raise Refused(
            403,
            Problem(
                "You can't see all the Dags of this change set.",
                "Open the plans of the Dags that you can see, each by itself.",
            ),
        )
    return found


def clearable_change_set(
    set_id: str, user: BaseUser, only: Sequence[str] = (), outcome: str = "Nothing was done."
) -> ChangeSet:
    """Return a change set if the user may clear all its DAGs, or those named in ``only``.

    :raises Refused: as :func:`readable_change_set`, and 403 naming the DAGs that the user may not clear
    """
    found = readable_change_set(set_id, user)
    wanted = [plan for plan in found.plans if not only or plan.dag_id in only]
    refuse([_forbidden(plan, user) for plan in wanted if not permissions.may_clear(plan.dag, user)], outcome)
    return found


def may_clear_all(of: ChangeSet, user: BaseUser) -> bool:
    """Whether the user, who may see the set, may clear all its DAGs."""
    return all(permissions.may_clear(plan.dag, user) for plan in of.plans)


def without_hidden_dags(of: ChangeSet, user: BaseUser, session: Session) -> ChangeSet:
    """Return the set without its values about DAGs that the user may not read.

    These are the DAGs that were left out, and the plan that its DAGs wait for.
    """
    awaited = of.awaited_dag_id
    dag_ids = [*(dag.dag_id for dag in of.left_out), *([awaited] if awaited else ())]
    if not dag_ids:
        return of
    readable = permissions.readable_dags(dags_by_id(dag_ids, session), user, session)
    seen = {dag.dag_id for dag in readable.dags}
    left_out = tuple(dag for dag in of.left_out if dag.dag_id in seen)
    made_from = dict(of.made_from)
    if awaited and awaited not in seen:
        made_from |= {"plan": None, "selection": Selection("").to_json()}
    return replace(of, left_out=left_out, made_from=made_from)


def _forbidden(plan: PlanSummary, user: BaseUser) -> RefusedDag:
    return RefusedDag(
        plan.dag_id,
        403,
        f"You can see {plan.dag_id}, but you can't clear its task instances.",
        f"Ask an Airflow admin for {rights.to_clear(plan.dag_id, user)}.",
    )
