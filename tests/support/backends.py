"""Where the databases of a test session live: SQLite files or a private PostgreSQL server."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine, event

from tests.support.postgres import DRIVER, PostgresqlServer

METADATA = "airflow"
NAMES = ("sqlite", "postgresql", "postgresql-psycopg2")


class Backend(Protocol):
    """A kind of database that Airflow can keep its metadata in."""

    name: str

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of ``database``, whether or not it exists."""

    def start(self) -> None:
        """Get ready to create databases."""

    def stop(self) -> None:
        """Stop what ``start`` started and remove every database."""

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create an empty database, or a copy of ``template``, and return its URL."""

    def drop_database(self, name: str) -> None:
        """Remove a database."""


class SqliteBackend:
    """Databases as files in one directory."""

    name = "sqlite"

    def __init__(self, directory: Path) -> None:
        """Keep the files in ``directory``."""
        self.directory = directory

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of ``database``, whether or not it exists."""
        return f"sqlite:///{self._file(database)}"

    def start(self) -> None:
        """Make the directory."""
        self.directory.mkdir(parents=True, exist_ok=True)
        event.listen(Engine, "connect", _without_durability)

    def stop(self) -> None:
        """Remove every database."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create an empty database, or a copy of ``template``, and return its URL."""
        if self._file(name).exists():
            raise FileExistsError(self._file(name))
        target = sqlite3.connect(self._file(name))
        if template:
            source = sqlite3.connect(self._file(template))
            source.backup(target)
            source.close()
        target.close()
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database and the files that SQLite keeps beside it."""
        for file in self.directory.glob(f"{name}.db*"):
            file.unlink()

    def _file(self, database: str) -> Path:
        return self.directory / f"{database}.db"


def _without_durability(connection: Any, _record: object) -> None:
    """Have SQLite wait for no disk: nothing here outlives the session."""
    if "sqlite" in type(connection).__module__:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=OFF")
        cursor.close()


class PostgresqlBackend:
    """Databases of a private PostgreSQL server."""

    name = "postgresql"

    def __init__(self, driver: str) -> None:
        """Choose where the server will be; nothing is started yet."""
        self._server = PostgresqlServer(driver=driver)

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of ``database``, whether or not it exists."""
        return self._server.url(database)

    def start(self) -> None:
        """Start the server."""
        self._server.start()

    def stop(self) -> None:
        """Stop the server and remove it with every database."""
        self._server.stop()

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create an empty database, or a copy of ``template`` (which nobody may be connected to)."""
        return self._server.create_database(name, template or "template0")

    def drop_database(self, name: str) -> None:
        """Remove a database, with the connections that are left in it."""
        self._server.drop_database(name)


def open_backend(name: str, home: Path) -> Backend:
    """Return the backend called ``name``, not yet started."""
    kind, _, driver = name.partition("-")
    return PostgresqlBackend(driver or DRIVER) if kind == "postgresql" else SqliteBackend(home / "databases")
