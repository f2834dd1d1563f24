"""A metadata database of a large deployment on PostgreSQL, and the Flask app on it."""

from __future__ import annotations

from typing import Any

import pytest

# The app is that of the view tests; what cleans the database before each of them stays away.
from tests.views.conftest import app, auth_manager_name, migrated_metadata_db

__all__ = ["app", "auth_manager_name", "migrated_metadata_db"]


@pytest.fixture(scope="session")
def large(app: Any) -> None:
    """Fill the database once; the tests only add plans."""
    from airflow import settings

    from tests.query_plans.history import store_history

    with settings.NonScopedSession() as session:
        store_history(session)
