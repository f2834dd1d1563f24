"""The address of an api-server."""

from __future__ import annotations

from urllib.parse import urlsplit

from safe_clear_plugin.cli.errors import CommandError

DEFAULT = "http://localhost:8080"
PORTS = {"http": 80, "https": 443}


def normalize(url: str) -> str:
    """Return the address as two of them can be compared: no user, no final slash, no port that goes without.

    :raises CommandError: when it is none
    """
    problem = CommandError(
        "This is not the address of a server: use http:// or https://, a host, and no user or query.",
        f"Set --server or SAFE_CLEAR_SERVER to the address that users open, such as {DEFAULT}.",
    )
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise problem from None
    extra = parts.query or parts.fragment or parts.username or parts.password
    if parts.scheme not in PORTS or not parts.hostname or extra:
        raise problem
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    at = "" if port in (None, PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{at}{parts.path.rstrip('/')}"
