"""Identifies the user of a request, and the credential, as Airflow's own API does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.configuration import conf
from fastapi import HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials

from safe_clear_plugin.airflow_api.auth.asgi_scope import current_scope
from safe_clear_plugin.airflow_api.platform.config import base_url

Credential = Literal["cookie", "bearer", "nothing"]
"""What says who the user is: Airflow's cookie, a bearer token that the caller sent, or nothing of the
caller's, where Airflow lets everybody in."""

Headers = Iterable[tuple[str, str]]

TOKEN_COOKIE = COOKIE_NAME_JWT_TOKEN


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, and the kind of credential that identifies the user."""

    user: BaseUser
    credential: Credential


def identify(headers: Headers) -> Identity | None:
    """Return who sends the request of this thread; ``headers`` are read where no ASGI scope is at hand.

    Airflow's ``get_user`` decides, so that cookie, bearer token and the user of a middleware go before one
    another as they do in Airflow's API, which differs between its versions.
    """
    return asyncio.run(_identify(_request(headers)))


def has_own_bearer(headers: Headers) -> bool:
    """Whether the caller sent a bearer token, valid or not, and it is not one that Airflow adds."""
    request = _request(headers)
    sent = request.headers.getlist("authorization")
    scheme, _, token = sent[0].partition(" ") if sent else ("", "", "")
    return len(sent) > _added() and scheme.lower() == "bearer" and bool(token.strip())


async def _identify(request: Request) -> Identity | None:
    injected = getattr(request.state, "user", None)
    bearer: HTTPAuthorizationCredentials | None = await bearer_scheme(request)
    try:
        user = await get_user(request, None, bearer)
    except HTTPException:
        return None
    if user is None:
        return None
    cookie = request.cookies.get(TOKEN_COOKIE)
    if user is injected:
        return Identity(user, "cookie" if cookie else "nothing")
    if bearer is not None:
        own = len(request.headers.getlist("authorization")) > _added()
        return Identity(user, "bearer" if own else "nothing")
    # Airflow's middlewares hand on the user of a good cookie. One that they could not refresh is over.
    return Identity(user, "cookie") if current_scope() is None else None


def _request(headers: Headers) -> Request:
    scope = current_scope()
    if scope is None:
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        scope = {"type": "http", "headers": raw}
    return Request(scope)


def _added() -> int:
    """Return how many ``Authorization`` headers Airflow itself puts behind those of each request."""
    everybody = conf.getboolean("core", "simple_auth_manager_all_admins")
    return int(everybody and isinstance(get_auth_manager(), SimpleAuthManager))


def login_url(back_to: str) -> str:
    """Return the login page that leads back to the absolute URL ``back_to``."""
    url = str(get_auth_manager().get_url_login(next_url=back_to))
    if "next=" not in url:
        url += ("&" if "?" in url else "?") + urlencode({"next": back_to})
    if url.startswith("/auth/"):
        url = base_url() + url
    return url
