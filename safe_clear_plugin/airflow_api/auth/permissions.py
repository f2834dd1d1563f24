"""Asks the configured auth manager what users may do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth.teams import live_teams
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import TeamDag

ResourceMethod = Literal["GET", "PUT"]

ASKED_AT_ONCE = 50
READ_AT_ONCE = 1_000
"""DAGs whose teams one statement reads."""
ASKING_SECONDS = 2.0
"""Time limit for asking the auth manager about a list of DAGs; one with a server answers dozens a second."""

__all__ = [
    "BaseUser",
    "ClearableDag",
    "FoundDags",
    "Readable",
    "actor",
    "audited_dags",
    "clearable_dags",
    "is_anonymous",
    "may_clear",
    "may_edit_dag",
    "may_read",
    "may_see_dag",
    "readable_dags",
    "search_clearable_dags",
]


def actor(user: BaseUser) -> Actor:
    """Return the user as the audit log names them; a user who is not logged in has only a name."""
    return Actor(id=str(user.get_id() or user.get_name()), name=str(user.get_name()))


def is_anonymous(user: BaseUser) -> bool:
    """Whether the user is FAB's for everybody who has not logged in (``[fab] auth_role_public``)."""
    return bool(getattr(user, "is_anonymous", False))


def may_clear(dag: TeamDag, user: BaseUser) -> bool:
    """Whether the user may clear task instances of the DAG: what Airflow's clear endpoint asks."""
    return _may("PUT", dag, user)


def may_read(dag: TeamDag, user: BaseUser) -> bool:
    """Whether the user may see task instances of the DAG."""
    return _may("GET", dag, user)


def may_see_dag(dag: TeamDag, user: BaseUser) -> bool:
    """Whether the user may see the DAG itself, and so know that there is one."""
    return bool(get_auth_manager().is_authorized_dag(method="GET", details=_details(dag), user=user))


def may_edit_dag(dag: TeamDag, user: BaseUser) -> bool:
    """Whether the user may edit the DAG itself. Airflow's switch asks for this right to pause a DAG."""
    return bool(get_auth_manager().is_authorized_dag(method="PUT", details=_details(dag), user=user))


def audited_dags(dags: Sequence[TeamDag], user: BaseUser, session: Session) -> Readable:
    """Return the DAGs whose rows of Airflow's audit log the user may read, in the order given.

    Airflow's event logs ask the same (``requires_access_event_log``).
    """
    return _found(dags, DagAccessEntity.AUDIT_LOG, user, session)


def _may(method: ResourceMethod, dag: TeamDag, user: BaseUser) -> bool:
    return _is_authorized(method, _details(dag), user)


def _is_authorized(
    method: ResourceMethod,
    details: DagDetails,
    user: BaseUser,
    entity: DagAccessEntity = DagAccessEntity.TASK_INSTANCE,
) -> bool:
    return bool(
        get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=user)
    )


def _details(dag: TeamDag) -> DagDetails:
    with new_session() as session:
        teams = live_teams([dag.dag_id], session)
    return DagDetails(id=dag.dag_id, team_name=teams.get(dag.dag_id, dag.team_name))


class ClearableDag(NamedTuple):
    """A DAG whose task instances the user may clear."""

    dag_id: str
    is_paused: bool


@dataclass(frozen=True, slots=True)
class FoundDags:
    """The first DAGs that a search found; ``complete`` where all that could match were asked for."""

    dags: list[ClearableDag]
    complete: bool


@dataclass(frozen=True, slots=True)
class Readable:
    """Those of some DAGs that the user may read; ``complete`` where all of them were asked for."""

    dags: list[TeamDag]
    complete: bool

    @property
    def ids(self) -> set[str]:
        """The ids of these DAGs."""
        return {dag.dag_id for dag in self.dags}


class _Asked(NamedTuple):
    """A DAG, and what the auth manager is asked about it: with the team that it has now, if it is there."""

    dag: TeamDag
    details: DagDetails


def search_clearable_dags(text: str, user: BaseUser, session: Session, limit: int) -> FoundDags:
    """Return DAGs in use whose id contains the text, exact matches first, then those that begin with it."""
    paused = _matching(text, session)
    candidates = [TeamDag(dag_id) for dag_id in _editable(list(paused), user, session)]
    found: list[ClearableDag] = []
    asked = 0
    for chunk in _until_late(candidates, session):
        asked += len(chunk)
        readable = _allowed("GET", _allowed("PUT", chunk, user), user)
        found += [ClearableDag(dag.dag_id, paused[dag.dag_id]) for dag, _ in readable]
        if len(found) >= limit:
            break
    return FoundDags(found[:limit], complete=asked == len(candidates))


def _matching(text: str, session: Session) -> dict[str, bool]:
    """Return whether each DAG whose id contains the text is paused, the best match first."""
    name, wanted = func.lower(DagModel.dag_id), text.lower()
    rank = case((name == wanted, 0), (name.startswith(wanted, autoescape=True), 1), else_=2)
    query = (
        select(DagModel.dag_id, DagModel.is_paused)
        .where(~DagModel.is_stale, name.contains(wanted, autoescape=True))
        .order_by(rank, DagModel.dag_id)
    )
    return {row.dag_id: bool(row.is_paused) for row in session.execute(query)}


def _editable(dag_ids: Sequence[str], user: BaseUser, session: Session) -> list[str]:
    """Leave out the DAGs that the user may not edit, where the auth manager knows those that they may.

    FAB does. Airflow's default asks for one DAG after the other, which takes Keycloak a request each.
    """
    manager = get_auth_manager()
    if type(manager).get_authorized_dag_ids is BaseAuthManager.get_authorized_dag_ids:
        return list(dag_ids)
    editable = manager.get_authorized_dag_ids(user=user, method="PUT", session=session)
    return [dag_id for dag_id in dag_ids if dag_id in editable]


def readable_dags(dags: Sequence[TeamDag], user: BaseUser, session: Session) -> Readable:
    """Return those of the DAGs, deleted ones too, whose task instances the user may see, in their order."""
    return _found(dags, DagAccessEntity.TASK_INSTANCE, user, session)


def _found(dags: Sequence[TeamDag], entity: DagAccessEntity, user: BaseUser, session: Session) -> Readable:
    found: list[TeamDag] = []
    asked = 0
    for chunk in _until_late(dags, session):
        asked += len(chunk)
        found += [dag for dag, details in chunk if _is_authorized("GET", details, user, entity)]
    return Readable(found, complete=asked == len(dags))


def clearable_dags(dags: Sequence[TeamDag], user: BaseUser, session: Session) -> Readable:
    """Return the DAGs, from a list of readable ones, that the user may clear."""
    found: list[TeamDag] = []
    asked = 0
    for chunk in _until_late(dags, session):
        asked += len(chunk)
        found += [dag for dag, _ in _allowed("PUT", chunk, user)]
    return Readable(found, complete=asked == len(dags))


def _until_late(dags: Sequence[TeamDag], session: Session) -> Iterator[Sequence[_Asked]]:
    """Yield the DAGs a few at a time, as long as there is time to ask for them."""
    deadline = time.monotonic() + ASKING_SECONDS
    for first in range(0, len(dags), READ_AT_ONCE):
        part = dags[first : first + READ_AT_ONCE]
        teams = live_teams([dag.dag_id for dag in part], session)
        asked = [
            _Asked(dag, DagDetails(id=dag.dag_id, team_name=teams.get(dag.dag_id, dag.team_name)))
            for dag in part
        ]
        for start in range(0, len(asked), ASKED_AT_ONCE):
            if first + start and time.monotonic() > deadline:
                return
            yield asked[start : start + ASKED_AT_ONCE]


def _allowed(method: ResourceMethod, asked: Sequence[_Asked], user: BaseUser) -> list[_Asked]:
    """Return those with whose task instances the user may do this."""
    return [one for one in asked if _is_authorized(method, one.details, user)]
