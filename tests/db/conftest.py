"""Tests that run on a real metadata database, once on SQLite and once on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.orm import Session

    from tests.support.backends import Backend
    from tests.support.metadata import MetadataDatabase


@pytest.fixture(autouse=True, scope="session")
def _no_dag_permissions(airflow_db: None) -> Iterator[None]:
    """Store DAGs without permissions, which these tests do not check."""
    from tests.support.permissions import no_dag_permissions

    with no_dag_permissions():
        yield


@pytest.fixture(autouse=True)
def _clean_metadata_db(metadata_db: MetadataDatabase) -> None:
    """Empty the metadata database before every test, also before one that does not ask for it."""


@pytest.fixture(autouse=True)
def _impatient_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the driver try a batch that the database refuses again at once, and then stop the plan."""
    from safe_clear_plugin.services.driver import steps

    monkeypatch.setattr(steps, "BETWEEN_TRIES", 0)
    monkeypatch.setattr(steps, "PAUSES", ())


@pytest.fixture
def empty_database(backend: Backend) -> Iterator[Callable[[], str]]:
    """Return a function that creates one more database, without tables, and returns its URL."""
    names: list[str] = []

    def create() -> str:
        names.append(f"empty_{len(names)}")
        return backend.create_database(names[-1])

    yield create
    for name in names:
        backend.drop_database(name)


@pytest.fixture(params=["True", "False"], ids=["speedups on", "speedups off"])
def speedups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with ``[safe_clear] speedups`` on, then off."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__SPEEDUPS", request.param)
    return request.param


JSON_COLUMNS = {
    "task_instance": ("next_kwargs", "context_carrier"),
    "task_instance_history": ("next_kwargs", "context_carrier"),
    "dag_run": ("context_carrier",),
}
"""Of which a database that an older Airflow made has json, where the models say jsonb."""


@pytest.fixture(params=["this Airflow", "an older Airflow"])
def made_by(request: pytest.FixtureRequest, session: Session) -> Iterator[None]:
    """Have the types of columns as Airflow makes them, then as no migration has altered them since."""
    if request.param == "this Airflow":
        yield
        return
    if session.get_bind().dialect.name != "postgresql":
        pytest.skip("only PostgreSQL has two types of JSON")

    def alter(kind: str) -> None:
        for table, columns in JSON_COLUMNS.items():
            changes = (f"ALTER COLUMN {one} TYPE {kind} USING {one}::text::{kind}" for one in columns)
            session.execute(text(f"ALTER TABLE {table} {', '.join(changes)}"))
        session.commit()
        # psycopg 3 prepares statements, and PostgreSQL refuses one whose columns have changed type.
        session.get_bind().dispose()

    alter("json")
    yield
    session.rollback()
    alter("jsonb")
