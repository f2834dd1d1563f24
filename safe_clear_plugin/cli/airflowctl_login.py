"""The login of airflowctl: the server in a file, the token in a keyring or in the environment.

Mirrors ``airflowctl.api.client.Credentials``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.server_address import normalize

SERVICE = "airflowctl"


def server() -> str | None:
    """Return the server that airflowctl is logged in to; ``None`` if there is none."""
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    name = _environment()
    if not name or Path(name).name != name:
        return None
    try:
        found = json.loads((home / f"{name}.json").read_text(encoding="utf-8"))
        return normalize(str(found["api_url"]))
    except (OSError, ValueError, KeyError, TypeError, CommandError):
        return None


def token() -> str | None:
    """Return the token for that server.

    :raises CommandError: when it is in a keyring that cannot be read
    """
    if value := os.environ.get("AIRFLOW_CLI_TOKEN", "").strip():
        return value
    remedy = "Log in again with airflowctl, or set SAFE_CLEAR_TOKEN."
    try:
        # Not a dependency: an environment with airflowctl has it.
        import keyring  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        from keyring.errors import KeyringError  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        raise CommandError(
            "airflowctl is logged in, but its token is in a keyring that can't be read.",
            "Install the package `keyring` beside safe-clear, or set SAFE_CLEAR_TOKEN.",
        ) from None
    try:
        found = keyring.get_password(SERVICE, f"api_token_{_environment()}")
    except (KeyringError, ValueError) as error:
        raise CommandError(f"The keyring of airflowctl can't be read: {error}.", remedy) from None
    return str(found) if found else None


def _environment() -> str:
    return os.environ.get("AIRFLOW_CLI_ENVIRONMENT") or "production"
