"""Scenes that many tests begin with: written through Airflow once, copied from then on."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import time_machine

from tests.support.snapshots import filled_tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

Key = tuple[Hashable, ...]

_caches: dict[object, SceneCache] = {}
_numbers = itertools.count()


def open_cache(engine: Engine, tables: tuple[str, ...], baseline: Mapping[str, int]) -> None:
    """Have scenes copied in the database of ``engine``, with how many rows its tables have at the start."""
    _caches[engine] = SceneCache(engine, tables, baseline)


def write_scene(key: Key, session: Session, write: Callable[[], object]) -> None:
    """Write the scene called ``key`` as ``write`` does, which commits."""
    cache = _caches.get(session.get_bind())
    if cache:
        cache.write(key, session, write)
    else:
        write()


class Copy(Protocol):
    """The rows of a scene, as the database has them."""

    complete: bool
    """Whether the scene changed no row that was there before."""

    def write(self, connection: Connection) -> None:
        """Write the rows; they refer to each other and to what was there before only."""


class SceneCache:
    """Writes scenes into a database that is as at the start of a test.

    A copy has the ids and the times of creation of the first writing; no sequence is set back between tests,
    so that all are past these ids.
    """

    def __init__(self, engine: Engine, tables: tuple[str, ...], baseline: Mapping[str, int]) -> None:
        """Remember what the database holds at the start."""
        self._engine = engine
        self._tables = tables
        self._baseline = dict(baseline)
        self._copies: dict[Key, Copy] = {}

    def write(self, key: Key, session: Session, write: Callable[[], object]) -> None:
        """Write a scene; by ``write`` where it is new, beside other rows, and under another clock."""
        session.commit()
        key = (*key, *_settings_of_airflow())
        with self._engine.connect() as connection:
            at_start = self._is_at_start(connection)
        if time_machine.escape_hatch.is_travelling() or not at_start:
            write()
        elif key not in self._copies:
            self._copies[key] = self._write_first(session, write)
        elif self._copies[key].complete:
            with self._engine.connect() as connection:
                self._copies[key].write(connection)
                connection.commit()
            session.expire_all()
        else:
            write()

    def _is_at_start(self, connection: Connection) -> bool:
        if filled_tables(connection, self._tables) != self._baseline.keys():
            return False
        counts = (f"SELECT '{name}', count(*) FROM {_quoted(connection, name)}" for name in self._baseline)
        rows = connection.exec_driver_sql(" UNION ALL ".join(counts)).all() if self._baseline else []
        return dict(map(tuple, rows)) == self._baseline

    def _write_first(self, session: Session, write: Callable[[], object]) -> Copy:
        copy_added = _in_memory if self._engine.dialect.name == "sqlite" else _in_schema
        with self._engine.connect() as connection:
            finish = copy_added(connection, tuple(self._baseline))
        write()
        session.commit()
        with self._engine.connect() as connection:
            copy = finish(connection, sorted(filled_tables(connection, self._tables)))
            connection.commit()
        return copy


def _settings_of_airflow() -> list[tuple[str, str]]:
    """Return what a test may have set that Airflow's own code goes by."""
    own = "AIRFLOW__SAFE_CLEAR__"
    return sorted(
        item for item in os.environ.items() if item[0].startswith("AIRFLOW__") and not item[0].startswith(own)
    )


Finish = Callable[["Connection", "list[str]"], Copy]


def _in_memory(connection: Connection, names: tuple[str, ...]) -> Finish:
    before = {name: Counter(_rows(connection, name)) for name in names}

    def finish(connection: Connection, names: list[str]) -> InMemory:
        after = {name: Counter(_rows(connection, name)) for name in names}
        gone = any(rows - after.get(name, Counter()) for name, rows in before.items())
        added = {name: rows - before.get(name, Counter()) for name, rows in after.items()}
        return InMemory({name: list(rows) for name, rows in added.items() if rows}, not gone)

    return finish


@dataclass
class InMemory:
    """Rows of an SQLite database, whose driver gives and takes them as they are."""

    tables: dict[str, list[tuple[Any, ...]]]
    complete: bool

    def write(self, connection: Connection) -> None:
        """Write the rows."""
        # The switch is the connection's, not the transaction's, and the connection returns to Airflow's pool.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        for name, rows in self.tables.items():
            places = ", ".join("?" * len(rows[0]))
            connection.exec_driver_sql(f"INSERT INTO {_quoted(connection, name)} VALUES ({places})", rows)
        connection.commit()
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")


def _in_schema(connection: Connection, names: tuple[str, ...]) -> Finish:
    before = {name: _places(connection, name) for name in names}

    def finish(connection: Connection, names: list[str]) -> InSchema:
        after = {name: _places(connection, name) for name in names}
        gone = any(places - after.get(name, set()) for name, places in before.items())
        added = {name: places - before.get(name, set()) for name, places in after.items()}
        copy = InSchema(f"scene_{next(_numbers)}", [name for name in names if added[name]], not gone)
        connection.exec_driver_sql(f"CREATE SCHEMA {copy.schema}")
        for name in copy.names:
            quoted, places = _quoted(connection, name), ", ".join(f"'{place}'" for place in added[name])
            connection.exec_driver_sql(
                f"CREATE TABLE {copy.schema}.{quoted} AS SELECT * FROM {quoted} WHERE ctid IN ({places})"
            )
        return copy

    return finish


@dataclass
class InSchema:
    """Rows of a PostgreSQL database, in tables of a schema of their own."""

    schema: str
    names: list[str]
    complete: bool

    def write(self, connection: Connection) -> None:
        """Write the rows."""
        statements = ["SET LOCAL session_replication_role = replica"]
        for name in self.names:
            quoted = _quoted(connection, name)
            statements.append(f"INSERT INTO {quoted} SELECT * FROM {self.schema}.{quoted}")
        connection.exec_driver_sql("; ".join(statements))


def _places(connection: Connection, name: str) -> set[str]:
    """Return where the rows are; one that is changed gets another place."""
    rows = connection.exec_driver_sql(f"SELECT ctid::text FROM {_quoted(connection, name)}")
    return {place for (place,) in rows}


def _rows(connection: Connection, name: str) -> list[tuple[Any, ...]]:
    rows = connection.exec_driver_sql(f"SELECT * FROM {_quoted(connection, name)}")
    return [tuple(row) for row in rows]


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
