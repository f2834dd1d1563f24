"""The permissions that FAB stores with each DAG."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def no_dag_permissions() -> Iterator[None]:
    """Store no permissions with DAGs, which takes time, for tests in which nobody logs in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow.dag_processing.collection._sync_dag_perms", lambda dag, session: None)
        yield
