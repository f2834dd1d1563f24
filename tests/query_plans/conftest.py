"""A metadata database of a large deployment on PostgreSQL, and the Flask app on it."""

from __future__ import annotations

from typing import Any

import pytest

# The app is that of the view tests; what cleans the database before each of them stays away.
from tests.views.conftest import app, auth_manager_name, migrated_metadata_db

__all__ = ["app", "auth_manager_name", "migrated_metadata_db"]


@pytest.fixture(autouse=True)
def time_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the auth manager be asked about every DAG on a busy machine too: rows count here, not time."""
    from safe_clear_plugin.airflow_api.auth import permissions

    monkeypatch.setattr(permissions, "ASKING_SECONDS", 120.0)


@pytest.fixture(scope="session")
def large(app: Any) -> None:
    """Fill the database once; the tests only add plans."""
    from airflow import settings

    from tests.query_plans.history import store_history

    with settings.NonScopedSession() as session:
        store_history(session)
