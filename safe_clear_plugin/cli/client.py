"""Requests to the api-server: who sends them, and which are sent again after a failure."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from safe_clear_plugin import __version__
from safe_clear_plugin.cli import refusals
from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.login import Credentials

ROUTES = "/pluginsv2/safe_clear"
CONNECT_TIMEOUT = 10.0
TIMEOUT = 120.0
"""Seconds to wait for an answer; a preview may take a minute."""
ATTEMPTS = 4
FIRST_WAIT, LONGEST_WAIT = 0.25, 10.0
"""Seconds before the second attempt, and at most before a later one."""
BEFORE_IT_WAS_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Failures of a request that has not reached the server."""


@dataclass(frozen=True)
class Answer:
    """An answer of the server: ``text`` is unchanged, ``data`` is the object in it."""

    status: int
    text: str
    data: Mapping[str, Any]


class Client:
    """Sends requests to Safe Clear's routes of one api-server."""

    def __init__(self, server: str, *, ca: str | None = None, timeout: float = TIMEOUT) -> None:
        """Keep the server's address; ``ca`` is a certificate to trust in place of the system's.

        :raises CommandError: when the certificate cannot be read
        """
        self.server = server
        self.credentials: Credentials | None = None
        self._http = httpx.Client(
            verify=_trusted(ca),
            timeout=httpx.Timeout(timeout, connect=CONNECT_TIMEOUT),
            headers={"Accept": "application/json", "User-Agent": f"safe-clear/{__version__}"},
            # A token goes to the server that was named and to no other.
            follow_redirects=False,
        )

    def get(self, path: str, **query: Any) -> Answer:
        """Read one of Safe Clear's addresses.

        :raises CommandError: when it is refused, or the server cannot be reached
        """
        params = {name: value for name, value in query.items() if value is not None}
        return self._answer("GET", path, repeatable=True, params=params)

    def post(self, path: str, body: Mapping[str, Any], *, repeatable: bool = True) -> Answer:
        """Send a change; one that is not ``repeatable`` is sent again only if it never reached the server.

        :raises LostAnswer: when it may have been carried out, or not
        :raises CommandError: when it is refused, or the server cannot be reached
        """
        return self._answer("POST", path, repeatable=repeatable, json=body)

    def login(self, user: str, password: str) -> str:
        """Get a token for a user and a password.

        :raises CommandError: when the login is refused
        """
        body = {"username": user, "password": password}
        sent = self._retrying(lambda: self._http.post(f"{self.server}/auth/token", json=body), True)
        token = refusals.json_object(sent.text).get("access_token")
        if sent.status_code not in (200, 201) or not isinstance(token, str):
            raise refusals.refused_login(user, sent.status_code)
        return token

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _answer(self, method: str, path: str, *, repeatable: bool, **request: Any) -> Answer:
        def send() -> httpx.Response:
            return self._with_token(method, f"{self.server}{ROUTES}{path}", **request)

        found = self._retrying(send, repeatable)
        if found.status_code == 401 and self.credentials and self.credentials.renew():
            found = self._retrying(send, repeatable)
        if method == "POST" and refusals.is_unclear(found):
            raise refusals.unclear_answer(found)
        if found.is_success:
            data = refusals.json_object(found.text)
            if data or found.status_code == 204:
                return Answer(found.status_code, found.text, data)
        raise refusals.refused(self.server, found)

    def _with_token(self, method: str, url: str, **request: Any) -> httpx.Response:
        token = self.credentials.token() if self.credentials else None
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._http.request(method, url, headers=headers, **request)

    def _retrying(self, send: Callable[[], httpx.Response], repeatable: bool) -> httpx.Response:
        def again(error: BaseException) -> bool:
            if isinstance(error, _TryAgain):
                return repeatable or refusals.is_sent_too_soon(error.response)
            if isinstance(error, BEFORE_IT_WAS_SENT):
                return not refusals.is_certificate_error(error)
            return repeatable and isinstance(error, httpx.TransportError)

        def attempt() -> httpx.Response:
            found = send()
            if refusals.is_passing(found):
                raise _TryAgain(found)
            return found

        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS), wait=_wait, retry=retry_if_exception(again), reraise=True
        )
        try:
            return retrying(attempt)
        except _TryAgain as last:
            return last.response
        except BEFORE_IT_WAS_SENT as error:
            raise refusals.unreachable(self.server, error) from None
        except httpx.TransportError as error:
            raise refusals.lost_answer(self.server, error) from None
        except httpx.InvalidURL:
            raise CommandError(f"{self.server} is not an address.", "Check --server.") from None


class _TryAgain(Exception):
    """An answer that says to try again."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def _wait(state: RetryCallState) -> float:
    """Return the seconds to wait: longer each time, and at least as many as the server asks for."""
    error = state.outcome.exception() if state.outcome else None
    asked = refusals.seconds_to_wait(error.response) if isinstance(error, _TryAgain) else 0.0
    longer_each_time = float(wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)(state))
    return min(max(asked, longer_each_time), LONGEST_WAIT)


def _trusted(ca: str | None) -> ssl.SSLContext | bool:
    if not ca:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise CommandError(
            f"Can't use {ca} as a certificate: {error}.",
            "Give --ca a file in PEM format: the server's own certificate, or that of its authority.",
        ) from None
