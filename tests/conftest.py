"""The metadata database that a test session works on.

This file is imported before any test module, and so before Airflow.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.support import environment, options
from tests.support.backends import METADATA, Backend, open_backend
from tests.support.threads import wait_for_clean_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from tests.support.metadata import MetadataDatabase

HOME = Path(tempfile.mkdtemp(prefix="safe-clear-tests-"))
BACKEND_KEY = pytest.StashKey[Backend]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Configure Airflow and Hypothesis, before any test module imports them."""
    gc.disable()
    chosen = options.read_options(config)
    backend = config.stash[BACKEND_KEY] = open_backend(chosen.backend, HOME)
    environment.configure_this_process(
        environment.airflow_environment(HOME, backend.url(METADATA), chosen.auth)
    )
    # The same examples each time, so that a change does not fail by luck; at random with `--full`.
    hypothesis.settings.register_profile(
        "safe clear", derandomize=not chosen.full, deadline=None, database=None, print_blob=True
    )
    hypothesis.settings.load_profile("safe clear")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this session's database or Airflow cannot make different, and what takes long."""
    wanted = options.wanted(items)
    kept = set(wanted)
    if left_out := [item for item in items if item not in kept]:
        config.hook.pytest_deselected(items=left_out)
        items[:] = wanted


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is imported by now: it stays, and is most of what it would look at."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


def pytest_report_header() -> str:
    """Say which database and auth manager this session is about."""
    return f"safe clear: backend={options.chosen.backend} auth={options.chosen.auth}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind, however the session ended."""
    config.stash[BACKEND_KEY].stop()
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """Return the started backend; it creates and drops databases."""
    backend = request.config.stash[BACKEND_KEY]
    backend.start()
    return backend


@pytest.fixture(scope="session")
def airflow_db(backend: Backend) -> None:
    """Create the metadata database as ``airflow db migrate`` does, once."""
    backend.create_database(METADATA)

    from airflow import settings
    from airflow.utils.db import initdb

    initdb()
    settings.Session.remove()


@pytest.fixture(scope="session")
def migrated_metadata_db(airflow_db: None) -> MetadataDatabase:
    """Return the database with the rows in it that every test starts from."""
    from airflow import settings

    from tests.support.metadata import MetadataDatabase

    return MetadataDatabase(settings.engine)


@pytest.fixture
def metadata_db(migrated_metadata_db: MetadataDatabase) -> Iterator[MetadataDatabase]:
    """Give the test a metadata database that holds only what the migrations put there."""
    from airflow import settings

    from safe_clear_plugin.services.clear import batch_sizers

    # What one test has learned of the machine is not to decide how many batches the next one takes.
    batch_sizers.forget()
    settings.Session.remove()
    migrated_metadata_db.wipe()
    yield migrated_metadata_db
    wait_for_clean_up()
    settings.Session.remove()


@pytest.fixture
def session(metadata_db: MetadataDatabase) -> Iterator[Session]:
    """Give the test a session of its own, apart from Airflow's scoped one."""
    from airflow import settings

    with settings.NonScopedSession() as session:
        yield session
        session.rollback()
