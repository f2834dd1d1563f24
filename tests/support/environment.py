"""The environment that Airflow reads at its first import.

Airflow's configuration and engine belong to the process, so a pytest process works on one metadata database
(``--backend``) and has one auth manager (``--auth``).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sqlalchemy import make_url

AUTH_MANAGERS = {
    "fab": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
    "simple": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
}
# Users of SimpleAuthManager are configuration; users of FabAuthManager are rows that the fixtures make.
SIMPLE_USERS = "admin:admin,operator:op,viewer:viewer,nobody:"


def airflow_environment(home: Path, sqlalchemy_url: str, auth: str) -> dict[str, str]:
    """Return the variables that make Airflow use ``home`` and the database at ``sqlalchemy_url``."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS[auth],
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__FERNET_KEY": "c2FmZS1jbGVhci1ub3QtYS1zZWNyZXQtZmVybmV0LWs=",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # DBDagBag keeps a DAG unchecked for this long, and the dag processor rewrites one no sooner.
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": SIMPLE_USERS,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__SECRET_KEY": "safe-clear-tests-api-secret-key-0123456789",
        "AIRFLOW__API_AUTH__JWT_SECRET": "safe-clear-tests-jwt-secret-" + "0123456789" * 4,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": sqlalchemy_url,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": asynchronous(sqlalchemy_url),
        # On a busy machine a preview takes its time; tests of the limits set their own.
        "AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT": "0",
        "AIRFLOW__SAFE_CLEAR__PREVIEW_TIMEOUT": "0",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def asynchronous(sqlalchemy_url: str) -> str:
    """Return the URL of the same database for Airflow's asynchronous engine."""
    url = make_url(sqlalchemy_url)
    # Airflow's own choice for PostgreSQL is asyncpg, which takes no directory of a Unix socket for a host.
    driver = {"sqlite": "aiosqlite", "postgresql": "psycopg_async", "mysql": "aiomysql"}[
        url.get_backend_name()
    ]
    return url.set(drivername=f"{url.get_backend_name()}+{driver}").render_as_string(hide_password=False)


def without_airflow_settings(environ: dict[str, str]) -> dict[str, str]:
    """Return ``environ`` without what configures Airflow on the developer's machine."""
    return {name: value for name, value in environ.items() if not name.startswith("AIRFLOW_")}


def configure_this_process(settings: dict[str, str]) -> None:
    """Put ``settings`` into this process; Airflow must not have been imported."""
    if "airflow" in sys.modules:
        raise RuntimeError("Airflow was imported before the tests configured it")
    for name in set(os.environ) - set(without_airflow_settings(dict(os.environ))):
        del os.environ[name]
    os.environ.update(settings)
