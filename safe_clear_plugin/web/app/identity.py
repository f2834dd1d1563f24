"""The caller of a request, and the token that ties a form to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import g, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from safe_clear_plugin.airflow_api.auth import authentication, permissions
from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core.actor import Actor

Credential = authentication.Credential
"""The caller's credentials: a cookie, a bearer token, or none."""
TOKEN_COOKIE = authentication.TOKEN_COOKIE

CSRF_FIELD = "csrf_token"
CSRF_HEADER = "X-CSRF-Token"
CSRF_MAX_AGE = 12 * 3600
"""Seconds that a page may stand open before its form is sent."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The user of a request, and what says that it is them."""

    user: permissions.BaseUser
    credential: Credential

    @property
    def actor(self) -> Actor:
        """The caller as the audit log has them."""
        return permissions.actor(self.user)

    @property
    def id(self) -> str:
        """The id that the CSRF token is bound to."""
        return self.actor.id

    @property
    def is_anonymous(self) -> bool:
        """Whether it is anybody, whom Airflow gives a public role."""
        return permissions.is_anonymous(self.user)


def identify() -> Caller | None:
    """Find out who sends the request, as Airflow's API does.

    Airflow's session cookie is neither read nor written: the pages of ``/auth`` share its name.
    """
    found = authentication.identify(request.headers.items())
    return Caller(found.user, found.credential) if found else None


def has_own_bearer() -> bool:
    """Whether the caller sent a bearer token; any other scheme is a proxy's own matter."""
    return authentication.has_own_bearer(request.headers.items())


def login_url(back_to: str) -> str:
    """Return the login page that leads back to the absolute URL ``back_to``."""
    return authentication.login_url(back_to)


def let_in(found: Caller) -> None:
    """Remember the caller for the rest of the request."""
    g.safe_clear_caller = found


def caller() -> Caller:
    """Return the caller, who has been let in."""
    return cast(Caller, g.safe_clear_caller)


def known_caller() -> Caller | None:
    """Return the caller, or nothing while nobody has been let in."""
    return cast("Caller | None", g.get("safe_clear_caller"))


def csrf_token() -> str:
    """Return a token for this caller's forms; nothing while nobody has been let in."""
    known = known_caller()
    return _serializer().dumps(known.id) if known else ""


def csrf_token_is_valid(found: Caller) -> bool:
    """Whether the request carries a token that was made for this caller."""
    token = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
    try:
        return bool(_serializer().loads(token, max_age=CSRF_MAX_AGE) == found.id)
    except BadSignature:
        return False


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(config.secret_key(), salt="safe-clear-csrf")
