"""Crashes and races, on a real metadata database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.metadata import MetadataDatabase


@pytest.fixture(autouse=True, scope="session")
def _no_dag_permissions(airflow_db: None) -> Iterator[None]:
    """Store DAGs without permissions, which these tests do not check."""
    from tests.support.permissions import no_dag_permissions

    with no_dag_permissions():
        yield


@pytest.fixture(autouse=True)
def _clean_metadata_db(metadata_db: MetadataDatabase) -> None:
    """Empty the metadata database before every test."""
