"""The caller's login: a token, or a user and a password to get one with."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from safe_clear_plugin.cli import airflowctl_login
from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.private_file import read_secret

HOW_TO_LOG_IN = (
    "Set SAFE_CLEAR_TOKEN to a token of Airflow's (POST /auth/token), give --token-file, or give --user to "
    "log in with a password."
)
Login = Callable[[str, str], str]
"""Gets a token for a user and a password."""


class Credentials(Protocol):
    """The header of a request that names its sender."""

    def token(self) -> str | None:
        """Return the bearer token; ``None`` where Airflow asks for none."""

    def renew(self) -> bool:
        """Try to get another token after one was refused; return whether there is one."""


class NoCredentials:
    """Of a server that asks for no login."""

    def token(self) -> str | None:
        """Return nothing."""
        return None

    def renew(self) -> bool:
        """Return that there is none."""
        return False


@dataclass(frozen=True)
class Token:
    """A token that cannot be renewed."""

    value: str

    def token(self) -> str | None:
        """Return it."""
        return self.value

    def renew(self) -> bool:
        """Return that there is no other."""
        return False


class TokenFile:
    """A token in a file that something else may write again, as Kubernetes and agents of vaults do."""

    def __init__(self, path: str) -> None:
        """Read it.

        :raises CommandError: when others can read the file, too
        """
        self._path = path
        self._token = read_secret(path)

    def token(self) -> str | None:
        """Return the token that was read last."""
        return self._token

    def renew(self) -> bool:
        """Read the file again."""
        before = self._token
        if self._path != "-":
            self._token = read_secret(self._path)
        return self._token != before


class Password:
    """A user and a password, for a new token whenever one expires."""

    def __init__(self, user: str, password: str, login: Login) -> None:
        """Keep them; the first request logs in."""
        self._user = user
        self._password = password
        self._login = login
        self._token: str | None = None

    def token(self) -> str | None:
        """Return the token, and log in for the first one.

        :raises CommandError: when the login is refused
        """
        if self._token is None:
            self._token = self._login(self._user, self._password)
        return self._token

    def renew(self) -> bool:
        """Log in again."""
        self._token = self._login(self._user, self._password)
        return True


def find_credentials(
    server: str, *, token_file: str | None, user: str | None, password_file: str | None, login: Login
) -> Credentials:
    """Return the credentials that options, environment or airflowctl have, in this order.

    :raises CommandError: when a file can be read by others, or there is a user without a password
    """
    if token_file:
        return TokenFile(token_file)
    if user:
        return Password(user, _password(user, password_file), login)
    if value := os.environ.get("SAFE_CLEAR_TOKEN", "").strip():
        return Token(value)
    if path := os.environ.get("SAFE_CLEAR_TOKEN_FILE"):
        return TokenFile(path)
    if name := os.environ.get("SAFE_CLEAR_USER"):
        return Password(name, _password(name, password_file), login)
    return _of_airflowctl(server)


def _of_airflowctl(server: str) -> Credentials:
    # Its token is for its own server alone.
    found = airflowctl_login.token() if airflowctl_login.server() == server else None
    return Token(found) if found else NoCredentials()


def _password(user: str, password_file: str | None) -> str:
    path = password_file or os.environ.get("SAFE_CLEAR_PASSWORD_FILE")
    if path:
        return read_secret(path)
    if password := os.environ.get("SAFE_CLEAR_PASSWORD"):
        return password
    if sys.stdin.isatty():
        return getpass.getpass(f"Password of {user}: ")
    raise CommandError(
        f"There is no password for {user}.",
        "Set SAFE_CLEAR_PASSWORD, or give --password-file. In a terminal you are asked for it.",
    )
