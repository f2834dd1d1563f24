"""A DAG with runs to clear, in an Airflow whose auth mode the module chooses.

A module sets ``OPTIONS``, the environment variables of its mode; the application is made once for it. The
modes follow each other in one process.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.snapshots import diff_snapshots, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from fastapi import FastAPI
    from sqlalchemy.orm import Session


@pytest.fixture(scope="module")
def airflow_app(request: pytest.FixtureRequest, airflow_db: None) -> Iterator[FastAPI]:
    """Return Airflow's application in the mode of the module."""
    from tests.auth.application import served

    with served(request.module.OPTIONS) as made:
        yield made


@pytest.fixture(autouse=True)
def _forget_permissions() -> None:
    """Forget the users that FAB remembers by id: each test makes its own."""
    from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager

    FabAuthManager.cache.clear()


@pytest.fixture
def dags(airflow_app: FastAPI, session: Session) -> None:
    """Store two DAGs with failed runs."""
    from tests.support.scenes import store_etls

    store_etls(session, "etl", "other")


@pytest.fixture
def unchanged_by(session: Session) -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which nothing in the database may change."""

    @contextmanager
    def unchanged() -> Iterator[None]:
        before = snapshot(session)
        yield
        assert diff_snapshots(before, snapshot(session)) == {}

    return unchanged
