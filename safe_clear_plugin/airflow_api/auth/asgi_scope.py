"""Gives Flask views the ASGI scope of their request, which Airflow's WSGI bridge does not pass on.

The bridge loses two things that the scope holds: the user that Airflow's middlewares have found or refreshed,
and each header by itself. WSGI joins headers with equal names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

Scope = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Any, Any], Awaitable[None]]

_scope: ContextVar[Scope | None] = ContextVar("safe_clear_asgi_scope", default=None)

POLICY_VIOLATION = 1008
"""The code with which a websocket is refused (RFC 6455)."""


class ScopeMiddleware:
    """Remembers the scope while the rest of Airflow answers the request.

    Airflow puts the middlewares of plugins inside its own, so that theirs have been through the scope before.
    The bridge runs Flask in a worker thread with a copy of the context.
    """

    def __init__(self, app: AsgiApp, path: str) -> None:
        """Wrap ``app``; ``path`` is where Safe Clear's pages are, below Airflow's own root path."""
        self.app = app
        self.path = path

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass the request on."""
        if scope["type"] == "websocket" and self._is_ours(scope):
            # The bridge only asserts that there are none.
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
            return
        token = _scope.set(scope if scope["type"] == "http" else None)
        try:
            await self.app(scope, receive, send)
        finally:
            _scope.reset(token)

    def _is_ours(self, scope: Scope) -> bool:
        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        return f"{path}/".startswith(f"{self.path}/")


def current_scope() -> Scope | None:
    """Return the scope of the request that is being answered; nothing where Flask is served by itself."""
    return _scope.get()
