"""A migration that is killed leaves all or nothing; tables that one has left half made are completed."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import event, inspect, select, text

from safe_clear_plugin.storage.db_manager import SafeClearDBManager
from safe_clear_plugin.storage.schema.table_columns import find_shape, shapes_by_revision
from safe_clear_plugin.storage.schema.table_repair import UnknownTablesError
from safe_clear_plugin.storage.table_setup import set_up_tables
from safe_clear_plugin.storage.tables import metadata, plan
from tests.db.test_table_setup import VERSIONS, bare_airflow, drop_all
from tests.db.test_tables import TABLES, differences
from tests.support import options
from tests.support.environment import airflow_environment, without_airflow_settings

pytestmark = [pytest.mark.backend, pytest.mark.sqlite]

__all__ = ["bare_airflow"]

ROOT = Path(__file__).parents[2]
REVISIONS = [one.revision for one in SafeClearDBManager(None).get_script_object().walk_revisions()][::-1]
STEP = 1 if options.chosen.full else 11
"""Between the statements after which a migration ends: each is tried with `--full` only."""
A_PLAN = """
INSERT INTO safe_clear_plan (id, dag_id, status, selection, run_on_latest_version, dag_versions, findings,
  fingerprint, task_instances, dag_runs, created_by, created_by_name, created_at, expires_at)
VALUES ('00000000000000000000000000000001', 'd', 'applied', '{}', false, '[]', '[]', '', 0, 0, '', '',
  '2026-01-01 00:00:00+00:00', '2026-01-01 00:00:00+00:00')
"""


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def manager(session: Any) -> Iterator[SafeClearDBManager]:
    """Return the DB manager of a database without tables of Safe Clear; they are there again at the end."""
    session.close()
    # The statements are to go through one connection: tests with threads leave several in the pool.
    session.get_bind().dispose()
    drop_all(session.get_bind())
    yield SafeClearDBManager(session)
    session.close()
    engine = session.get_bind()
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(text(f"DROP TABLE IF EXISTS {VERSIONS}"))
    SafeClearDBManager(session).upgradedb()


def stamp(engine: Any, revision: str | None) -> None:
    """Have the version table name that revision, or be empty."""
    with engine.begin() as connection:
        connection.execute(
            text(f"CREATE TABLE IF NOT EXISTS {VERSIONS} (version_num varchar(32) PRIMARY KEY)")
        )
        connection.execute(text(f"DELETE FROM {VERSIONS}"))
        if revision:
            connection.execute(text(f"INSERT INTO {VERSIONS} VALUES ('{revision}')"))


def run_migration(manager: SafeClearDBManager, revision: str, kill_after: int, engine: Any) -> bool:
    """Run one as earlier versions did, each statement a transaction; return whether it ended by itself."""
    left = kill_after

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KilledError

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
        event.listen(connection, "after_cursor_execute", count)
        try:
            with Operations.context(context):
                manager.get_script_object().get_revision(revision).module.upgrade()
        except KilledError:
            return False
    return True


def check_whole(manager: SafeClearDBManager, engine: Any) -> None:
    assert differences(engine) == []
    with manager.session as session:
        assert manager.check_migration()
        session.rollback()


def make_with_row(engine: Any) -> None:
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(text(A_PLAN))


def plans(engine: Any) -> int:
    with engine.connect() as connection:
        return len(connection.execute(select(plan)).all())


UPGRADES: dict[str, Callable[[SafeClearDBManager], None]] = {
    "db migrate": lambda manager: manager.upgradedb(),
    "initdb": lambda manager: manager.initdb(),
    "create_tables": lambda _: set_up_tables(),
}


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_tables_of_which_some_are_missing_are_completed(manager, session, upgrade):
    engine = session.get_bind()
    for number in range(1, len(TABLES), 3 if upgrade == "db migrate" else 6):
        with engine.begin() as connection:
            metadata.create_all(connection, tables=metadata.sorted_tables[:number])
        UPGRADES[upgrade](manager)
        check_whole(manager, engine)
        drop_all(engine)


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_tables_without_a_revision_are_kept_and_get_it(manager, session, upgrade):
    engine = session.get_bind()
    make_with_row(engine)
    UPGRADES[upgrade](manager)
    check_whole(manager, engine)
    assert plans(engine) == 1


@pytest.mark.parametrize("revision", [None, *REVISIONS])
def test_whole_tables_under_another_revision_are_kept_and_get_theirs(manager, session, revision):
    """As a second `airflow db migrate` left them: it stamped the first revision, then failed."""
    engine = session.get_bind()
    make_with_row(engine)
    stamp(engine, revision)
    manager.upgradedb()
    check_whole(manager, engine)
    assert plans(engine) == 1


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_migration_that_ended_half_way_is_completed(manager, session, revision):
    engine = session.get_bind()
    before = REVISIONS[: REVISIONS.index(revision)]
    for kill_after in itertools.count(1, STEP):
        for earlier in before:
            run_migration(manager, earlier, 0, engine)
        if before:
            with engine.begin() as connection:
                connection.execute(text(A_PLAN))
        stamp(engine, before[-1] if before else None)
        ended = run_migration(manager, revision, kill_after, engine)
        manager.upgradedb()
        check_whole(manager, engine)
        assert plans(engine) == len(before[:1])
        drop_all(engine)
        if ended:
            break


@pytest.mark.parametrize("revision", REVISIONS)
def test_tables_of_an_older_revision_without_a_name_are_upgraded(manager, session, revision):
    engine = session.get_bind()
    manager.upgradedb(to_revision=revision)
    with engine.begin() as connection:
        connection.execute(text(A_PLAN))
    stamp(engine, None)
    manager.upgradedb()
    check_whole(manager, engine)
    assert plans(engine) == 1


def test_a_table_that_no_migration_makes_keeps_its_rows(manager, session):
    engine = session.get_bind()
    make_with_row(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE safe_clear_plan DROP COLUMN fingerprint"))
    with pytest.raises(UnknownTablesError, match="safe_clear_plan like this"):
        manager.upgradedb()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM safe_clear_plan")) == 1
    assert VERSIONS not in inspect(engine).get_table_names()


def test_a_column_of_ones_own_is_left_alone(manager, session):
    engine = session.get_bind()
    manager.upgradedb(to_revision=REVISIONS[1])
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE safe_clear_plan ADD COLUMN ours integer"))
    manager.upgradedb()
    assert "ours" in {one["name"] for one in inspect(engine).get_columns("safe_clear_plan")}
    assert manager.check_migration()


def test_the_migrations_leave_the_same_shapes_in_every_database(manager, session):
    engine = session.get_bind()
    for revision, shape in shapes_by_revision(manager.get_script_object()).items():
        manager.upgradedb(to_revision=revision)
        with engine.connect() as connection:
            there = find_shape(connection, None)
        assert {one for one in there if one[0] in TABLES} == {one for one in shape if one[0] in TABLES}


def test_a_migration_that_is_killed_leaves_all_or_nothing(bare_airflow, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.db.killed_migration", REVISIONS[0], str(STEP)],
        env={
            **without_airflow_settings(dict(os.environ)),
            **airflow_environment(tmp_path, bare_airflow, "simple"),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    left = json.loads(done.stdout.splitlines()[-1])
    for states in (left["fresh"], left["upgrade"]):
        assert len(states) > len(TABLES) / STEP
        assert [one for one in states[:-1] if one != states[0]] == []
    assert left["fresh"][0] == [0, None]
    assert left["upgrade"][0][1] == REVISIONS[0]
    assert left["fresh"][-1] == left["upgrade"][-1]
    assert left["fresh"][-1][1] == REVISIONS[-1]
