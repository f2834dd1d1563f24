"""Where the demo keeps its things, and the environment that every Airflow component gets.

Imports the standard library only: it runs before Airflow is imported, and Airflow reads its configuration
at import.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DAGS = REPOSITORY / "demo" / "dags"
HOME = REPOSITORY / ".demo"
DATABASE = HOME / "airflow.db"
COMPONENT_LOGS = HOME / "logs-of-components"

#: The step of the preparation after which the API server may start.
USERS_STEP = "users ready"

SECRETS = (
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__CORE__FERNET_KEY",
)


def reachable(host: str) -> str:
    """Return the address under which this machine reaches a server that listens on ``host``."""
    return "127.0.0.1" if host == "0.0.0.0" else host


def component_environment(host: str, port: int) -> dict[str, str]:
    """Return the environment for Airflow in ``.demo`` with its API server on ``host`` and ``port``.

    ``AIRFLOW__*`` variables of the caller's shell are left out, so that the demo is the same for everybody,
    but for the options of Safe Clear itself.
    """
    inherited = {name: value for name, value in os.environ.items() if _is_inherited(name)}
    return (
        inherited
        | _kept_secrets()
        | {
            "AIRFLOW_HOME": str(HOME),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__AUTH_MANAGER": (
                "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
            ),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{reachable(host)}:{port}/execution/",
            # Both patient, since four processes share one SQLite file, perhaps on a small machine.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{DATABASE}?timeout=60",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
    )


def _is_inherited(name: str) -> bool:
    return not name.startswith("AIRFLOW__") or name.startswith("AIRFLOW__SAFE_CLEAR__")


def _kept_secrets() -> dict[str, str]:
    """Return the secrets that all components share, made once and kept in ``.demo``."""
    path = HOME / "secrets.env"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={_new_secret(name)}\n" for name in SECRETS))
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def _new_secret(name: str) -> str:
    if name.endswith("FERNET_KEY"):
        # What cryptography.fernet.Fernet.generate_key() makes: 32 random bytes, padded base64 for URLs.
        return secrets.token_urlsafe(32) + "="
    return secrets.token_urlsafe(32)
