"""Tests that run on a real metadata database, once on SQLite and once on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.backends import Backend
    from tests.support.metadata import MetadataDatabase


@pytest.fixture(autouse=True)
def _clean_metadata_db(metadata_db: MetadataDatabase) -> None:
    """Empty the metadata database before every test, also before one that does not ask for it."""


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
