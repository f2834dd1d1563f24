"""An auth manager as Keycloak's is since Airflow 3.3: its own middleware completes the user of a cookie."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.core_api import security
from jwt import InvalidTokenError
from starlette.middleware.base import BaseHTTPMiddleware

ACCESS_COOKIE = "_access_token"
PROGRAM = "a program"
"""The name of a user whose token is complete by itself."""


class CompletingMiddleware(BaseHTTPMiddleware):
    """Gives Airflow's routes the user whom two cookies make."""

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        if token := request.cookies.get(COOKIE_NAME_JWT_TOKEN):
            access = request.cookies.get(ACCESS_COOKIE)
            with suppress(InvalidTokenError):
                request.state.user = await get_auth_manager().get_user_from_token(token, access)
                request.state.user_authenticated_via = security.USER_INJECTED_BY_TRUSTED_MIDDLEWARE
        return await call_next(request)


class SplitAuthManager(SimpleAuthManager):
    """SimpleAuthManager where the token in Airflow's cookie is nobody's by itself."""

    async def get_user_from_token(self, token: str, access: str | None = None) -> Any:
        user = await super().get_user_from_token(token)
        return user if access or user.get_name() == PROGRAM else None

    def get_fastapi_middlewares(self) -> list[Any]:
        return [(CompletingMiddleware, {})]
