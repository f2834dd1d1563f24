"""Migrate the metadata database of a test server and create its users; run with the server's environment."""

from __future__ import annotations

from airflow.api_fastapi.app import init_auth_manager
from airflow.utils.db import initdb


def main() -> None:
    """Do in one process what ``airflow db migrate`` and ``airflow users create`` need five starts for."""
    initdb()
    init_auth_manager()
    from airflow.providers.fab.www.app import create_app

    from tests.support.auth import create_fab_users

    create_fab_users(create_app(enable_plugins=False))


if __name__ == "__main__":
    main()
