"""Posts one message to the webhook: with a time limit, without redirects, without reading the answer.

Nothing here may name the URL, which can hold a token: no exception of it is logged, and httpx's own log of
requests is kept silent about it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import timedelta

import httpx

from safe_clear_plugin import __version__
from safe_clear_plugin.core.webhook import LONGEST_WAIT, Attempt, DeliveryProblem, Webhook

log = logging.getLogger(__name__)


class UnusableClient(Exception):
    """The environment's proxy or certificates cannot be used."""


TIMEOUT = 10.0
"""Seconds for one attempt as a whole, however slowly its parts come."""
ASKS_TO_WAIT = (429, 503)

PROBLEMS: tuple[tuple[type[Exception], DeliveryProblem], ...] = (
    (UnusableClient, DeliveryProblem.OPTION),
    (httpx.InvalidURL, DeliveryProblem.OPTION),
    (httpx.UnsupportedProtocol, DeliveryProblem.OPTION),
    (asyncio.TimeoutError, DeliveryProblem.TIMEOUT),
    (httpx.TimeoutException, DeliveryProblem.TIMEOUT),
    (httpx.ConnectError, DeliveryProblem.UNREACHABLE),
    (httpx.ProxyError, DeliveryProblem.UNREACHABLE),
    (httpx.TransportError, DeliveryProblem.CLOSED),
)
"""The meaning of each failure; of several kinds, the first."""
FAILURES = tuple(kind for kind, _ in PROBLEMS)

_is_posting: ContextVar[bool] = ContextVar("safe_clear_is_posting", default=False)


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Whether a record of httpx is of another request than to the webhook."""
    del record
    return not _is_posting.get()


for _name in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy"):
    logging.getLogger(_name).addFilter(_is_not_ours)


def post(hook: Webhook, body: bytes, headers: Mapping[str, str]) -> Attempt:
    """Post a message and return the result; any answer except 200 to 299 is a problem."""
    token = _is_posting.set(True)
    try:
        return asyncio.run(_bounded(hook.url, body, headers))
    except FAILURES as error:
        problem = _problem_with(error)
        if problem == DeliveryProblem.OPTION:
            log.error("The webhook was not told: %s can't be used.", _unusable(error))
        return Attempt(problem)
    finally:
        _is_posting.reset(token)


async def _bounded(url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
    return await asyncio.wait_for(_exchange(url, body, headers), TIMEOUT)


async def _exchange(url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
    try:
        client = httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False)
    except (ImportError, OSError, ValueError) as error:
        raise UnusableClient from error
    sent = {
        **headers,
        "content-type": "application/json",
        "user-agent": f"safe-clear/{__version__}",
        "connection": "close",
    }
    async with client, client.stream("POST", url, content=body, headers=sent) as answer:
        return _judge(answer)


def _judge(answer: httpx.Response) -> Attempt:
    status = answer.status_code
    if 200 <= status < 300:
        return Attempt(None, status)
    if 300 <= status < 400:
        return Attempt(DeliveryProblem.REDIRECT, status)
    wait = answer.headers.get("retry-after", "") if status in ASKS_TO_WAIT else ""
    seconds = int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else 0
    retry_after = min(timedelta(seconds=seconds), LONGEST_WAIT) if seconds else None
    return Attempt(DeliveryProblem.STATUS, status, retry_after)


def _problem_with(error: Exception) -> DeliveryProblem:
    found = next(problem for kind, problem in PROBLEMS if isinstance(error, kind))
    is_certificate = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))
    return DeliveryProblem.CERTIFICATE if is_certificate else found


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes: httpx says nowhere else that it was the certificate."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unusable(error: Exception) -> str:
    if isinstance(error, UnusableClient):
        return "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE or SSL_CERT_DIR in the environment"
    return "the option `webhook_url`"
