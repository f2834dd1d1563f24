"""Who the user is, and what they may do, as the configured auth manager says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel
from jwt import InvalidTokenError
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.audit import Actor
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.airflow_api.settings import base_url

ResourceMethod = Literal["GET", "PUT"]

TOKEN_COOKIE = COOKIE_NAME_JWT_TOKEN
ASKED_AT_ONCE = 200

__all__ = [
    "TOKEN_COOKIE",
    "BaseUser",
    "ClearableDag",
    "actor",
    "login_url",
    "may_clear",
    "may_read",
    "readable_dag_ids",
    "search_clearable_dags",
    "user_from_token",
]


def user_from_token(token: str) -> BaseUser | None:
    """Return the user of a JWT of Airflow's, or ``None`` when it is invalid, expired or revoked."""
    try:
        return asyncio.run(get_auth_manager().get_user_from_token(token))
    except InvalidTokenError:
        return None


def actor(user: BaseUser) -> Actor:
    """Return how the user stands in the audit log."""
    return Actor(id=str(user.get_id()), name=str(user.get_name()))


def may_clear(dag_id: str, user: BaseUser) -> bool:
    """Whether the user may clear task instances of the DAG: what Airflow's clear endpoint asks."""
    return bool(
        get_auth_manager().is_authorized_dag(
            method="PUT", access_entity=DagAccessEntity.TASK_INSTANCE, details=_details(dag_id), user=user
        )
    )


def may_read(dag_id: str, user: BaseUser) -> bool:
    """Whether the user may see task instances of the DAG."""
    return bool(
        get_auth_manager().is_authorized_dag(
            method="GET", access_entity=DagAccessEntity.TASK_INSTANCE, details=_details(dag_id), user=user
        )
    )


@dataclass(frozen=True, slots=True)
class ClearableDag:
    """A DAG whose task instances the user may clear."""

    dag_id: str
    is_paused: bool


def search_clearable_dags(text: str, user: BaseUser, session: Session, limit: int) -> list[ClearableDag]:
    """Return DAGs in use whose id contains the text, exact matches first, then those that begin with it.

    ``get_authorized_dag_ids`` speaks of editing the DAG itself, so each is asked for its task instances too,
    a few at a time: for ten thousand that takes seconds.
    """
    editable = get_auth_manager().get_authorized_dag_ids(user=user, method="PUT", session=session)
    name, wanted = func.lower(DagModel.dag_id), text.lower()
    rank = case((name == wanted, 0), (name.startswith(wanted, autoescape=True), 1), else_=2)
    matching = (
        select(DagModel.dag_id, DagModel.is_paused)
        .where(~DagModel.is_stale, name.contains(wanted, autoescape=True))
        .order_by(rank, DagModel.dag_id)
    )
    paused = {row.dag_id: bool(row.is_paused) for row in session.execute(matching) if row.dag_id in editable}
    candidates, found = list(paused), []
    for start in range(0, len(candidates), ASKED_AT_ONCE):
        allowed = _with_task_instances("PUT", candidates[start : start + ASKED_AT_ONCE], user, session)
        found += [ClearableDag(dag_id, paused[dag_id]) for dag_id in allowed]
        if len(found) >= limit:
            break
    return found[:limit]


def readable_dag_ids(dag_ids: Sequence[str], user: BaseUser, session: Session) -> list[str]:
    """Return those of the DAGs, deleted ones too, whose task instances the user may see, in their order."""
    return _with_task_instances("GET", dag_ids, user, session)


def _with_task_instances(
    method: ResourceMethod, dag_ids: Sequence[str], user: BaseUser, session: Session
) -> list[str]:
    """Ask for each DAG whether the user may do this with its task instances; the teams are read at once."""
    teams = DagModel.get_dag_id_to_team_name_mapping(list(dag_ids), session=session) if dag_ids else {}
    manager = get_auth_manager()
    return [
        dag_id
        for dag_id in dag_ids
        if manager.is_authorized_dag(
            method=method,
            access_entity=DagAccessEntity.TASK_INSTANCE,
            details=DagDetails(id=dag_id, team_name=teams.get(dag_id)),
            user=user,
        )
    ]


def _details(dag_id: str) -> DagDetails:
    with new_session() as session:
        return DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id, session=session))


def login_url(back_to: str) -> str:
    """Return the login page that leads back to the absolute URL ``back_to``."""
    url = str(get_auth_manager().get_url_login(next_url=back_to))
    if "next=" not in url:
        url += ("&" if "?" in url else "?") + urlencode({"next": back_to})
    if url.startswith("/auth/"):
        url = base_url() + url
    return url
