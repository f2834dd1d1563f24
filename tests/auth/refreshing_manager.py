"""An auth manager as Keycloak's is: what a token grants runs out, and a token of single use renews it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

from airflow.api_fastapi.auth.managers.exceptions import AuthManagerRefreshTokenExpiredException
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser


@dataclass
class Server:
    """The server that such an auth manager asks: its clock, and the refresh tokens that it takes."""

    now: int = 0
    valid: set[str] = field(default_factory=set)
    spent: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The DAGs that it was asked for, one request each."""
    numbers: Any = field(default_factory=count)

    def new_refresh_token(self) -> str:
        """Give out a token that can be used once."""
        made = f"refresh {next(self.numbers)}"
        self.valid.add(made)
        return made


class RefreshedUser(SimpleAuthManagerUser):
    """A user whose rights are good at one time of the server only."""

    def __init__(self, *, granted_at: int, refresh_token: str | None, **user: Any) -> None:
        super().__init__(**user)
        self.granted_at = granted_at
        self.refresh_token = refresh_token


class RefreshingAuthManager(SimpleAuthManager):
    """SimpleAuthManager with such users."""

    server: ClassVar[Server] = Server()

    @classmethod
    def log_in(cls, *, role: str = "op", refresh_token: bool = True) -> RefreshedUser:
        """Return a user with rights; a program's have no refresh token."""
        given = cls.server.new_refresh_token() if refresh_token else None
        return RefreshedUser(username="maria", role=role, granted_at=cls.server.now, refresh_token=given)

    def serialize_user(self, user: RefreshedUser) -> dict[str, Any]:
        return {
            **super().serialize_user(user),
            "granted_at": user.granted_at,
            "refresh_token": user.refresh_token,
        }

    def deserialize_user(self, token: dict[str, Any]) -> RefreshedUser:
        return RefreshedUser(
            username=token["sub"],
            role=token["role"],
            granted_at=token["granted_at"],
            refresh_token=token["refresh_token"],
        )

    def refresh_user(self, *, user: RefreshedUser | None) -> RefreshedUser | None:
        if user is None or not user.refresh_token or user.granted_at == self.server.now:
            return None
        if user.refresh_token not in self.server.valid:
            raise AuthManagerRefreshTokenExpiredException(user.refresh_token)
        self.server.valid.remove(user.refresh_token)
        self.server.spent.append(user.refresh_token)
        return RefreshedUser(
            username=user.username,
            role=user.role,
            granted_at=self.server.now,
            refresh_token=self.server.new_refresh_token(),
        )

    def is_authorized_dag(self, *, method: Any, user: RefreshedUser, **what: Any) -> bool:
        details = what.get("details")
        self.server.asked.append(details.id if details else "")
        return user.granted_at == self.server.now and super().is_authorized_dag(
            method=method, user=user, **what
        )
