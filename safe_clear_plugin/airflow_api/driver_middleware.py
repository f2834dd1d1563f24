"""Starts and stops something with the api-server process: ASGI's lifespan, seen from a middleware."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from safe_clear_plugin.airflow_api.auth.asgi_scope import AsgiApp, Scope

log = logging.getLogger(__name__)


class Stoppable(Protocol):
    """Something that runs."""

    def stop(self) -> None:
        """End it."""


class LifespanMiddleware:
    """Starts something once the server is up, and stops it as the server ends; requests pass untouched.

    Each worker process of the server has a lifespan of its own. What cannot start does not keep Airflow from
    serving: it is logged.
    """

    def __init__(self, app: AsgiApp, start: Callable[[], Stoppable | None]) -> None:
        """Wrap ``app``; ``start`` is called in a thread."""
        self.app = app
        self.start = start

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass everything on."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        running: Stoppable | None = None

        async def end() -> None:
            nonlocal running
            ending, running = running, None
            if ending is not None:
                await asyncio.to_thread(ending.stop)

        async def watched(message: Any) -> None:
            nonlocal running
            if message["type"] == "lifespan.startup.complete":
                running = await asyncio.to_thread(self._start)
            elif message["type"].startswith("lifespan.shutdown."):
                # A server that a signal ends is gone as soon as it has this message.
                await end()
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            await end()

    def _start(self) -> Stoppable | None:
        # Every component of Airflow imports this module, and only its web server comes here.
        from safe_clear_plugin.core.problems import Refused  # noqa: PLC0415

        try:
            return self.start()
        except (ImportError, AttributeError, KeyError, Refused):
            # A later Airflow may have moved a name, or an option cannot be read.
            log.exception("Safe Clear's driver did not start: confirmed plans wait for another one")
            return None
