"""The Flask app that Airflow mounts for plugins, with authorization on.

Runs under the auth manager of ``--auth``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.options import chosen

if TYPE_CHECKING:
    from flask import Flask

    from tests.support.metadata import MetadataDatabase


@pytest.fixture(scope="session")
def auth_manager_name() -> str:
    """Return ``fab`` or ``simple``."""
    return chosen.auth


@pytest.fixture(scope="session")
def app(airflow_db: None) -> Flask:
    """Build the app in the order in which Airflow's api-server does, and the users."""
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.providers.fab.www.app import create_app
    from fastapi import FastAPI

    from tests.support.auth import create_fab_users

    init_auth_manager(FastAPI())
    app = create_app(enable_plugins=True)
    if chosen.auth == "fab":
        create_fab_users(app)
    return app


@pytest.fixture(scope="session")
def migrated_metadata_db(airflow_db: None, app: Flask) -> MetadataDatabase:
    """Take the users, too, for what the migrations left."""
    from airflow import settings

    from tests.support.metadata import MetadataDatabase

    settings.Session.remove()
    return MetadataDatabase(settings.engine)


@pytest.fixture(autouse=True)
def _clean_metadata_db(metadata_db: MetadataDatabase) -> None:
    """Empty the metadata database before every test, and forget the permissions that FAB remembers."""
    from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager

    FabAuthManager.cache.clear()


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """Switch off pytest-flask's request context around each test.

    Requests of the test client would share its ``flask.g``, and with it the user of the request before.
    """
