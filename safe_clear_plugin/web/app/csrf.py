"""Protection against requests from pages of other sites: which ones are refused, and the page's token."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from safe_clear_plugin.web.app.identity import Credential

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

Demand = Literal["nothing", "token", "refusal"]
"""The rule for a request: no token needed, the token of a page needed, or always refused."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What of a request tells whether another site's page could be behind it.

    ``mimetype`` is that of the body, without parameters. ``origin`` and ``fetch_site`` are the headers
    ``Origin`` and ``Sec-Fetch-Site``, which no script can set.
    """

    method: str
    credential: Credential
    mimetype: str = ""
    origin: str | None = None
    fetch_site: str | None = None


def demand(sent: Sent, hosts: Collection[str], origins: Collection[str] = ()) -> Demand:
    """Return what a request must carry to be carried out.

    A browser adds cookies by itself, and where Airflow lets everybody in there is nothing to add; so only a
    bearer token of the caller's own, or there a body of JSON, shows a program: another site's page can send
    neither unless the browser has asked Airflow first. ``Accept`` shows nothing: any page can set it.

    :param hosts: the names, with port, under which Airflow is reached
    :param origins: other origins that Airflow is configured to take requests from
    """
    if sent.method in SAFE_METHODS:
        return "nothing"
    if _is_cross_site(sent, hosts, origins):
        return "refusal"
    if sent.credential == "bearer":
        return "nothing"
    if sent.credential == "nothing" and sent.mimetype == "application/json":
        return "nothing"
    return "token"


def _is_cross_site(sent: Sent, hosts: Collection[str], origins: Collection[str]) -> bool:
    if sent.origin is not None and sent.origin in origins:
        return False
    # The browser knows best: behind a proxy, host and scheme may be others than those of its address bar.
    if sent.fetch_site is not None:
        return sent.fetch_site.strip().lower() not in ("same-origin", "none")
    if sent.origin is None:
        return False
    host = host_of(sent.origin)
    return not host or host not in map(_without_default_port, hosts)


def host_of(url: str) -> str:
    """Return host and port of a URL as ``Host`` has them; nothing for ``null`` or if it is no URL."""
    try:
        return _without_default_port(urlsplit(url.strip()).netloc)
    except ValueError:
        return ""


def _without_default_port(host: str) -> str:
    host = host.strip().lower()
    return host.removesuffix(":443").removesuffix(":80")
