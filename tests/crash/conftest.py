"""Crashes and races, on a real metadata database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.metadata import MetadataDatabase


@pytest.fixture(autouse=True)
def _clean_metadata_db(metadata_db: MetadataDatabase) -> None:
    """Empty the metadata database before every test."""
