"""The metadata database between tests: migrated once, emptied before each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, Table, select, text

from tests.support.scene_cache import open_cache
from tests.support.snapshots import filled_tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

Rows = list[tuple[Any, ...]]


class MetadataDatabase:
    """Puts a migrated metadata database back to what the migrations left in it.

    Every table counts, Airflow's, its providers' and ours, so that no test sees another's rows.
    """

    def __init__(self, engine: Engine) -> None:
        """Take the present rows (default pool, log template, Alembic versions, …) for the starting point."""
        self.engine = engine
        self._metadata = MetaData()
        self._metadata.reflect(engine)
        with engine.connect() as connection:
            self._baseline = {name: self._rows(connection, name) for name in self._filled(connection)}
        rows = {name: len(rows) for name, rows in self._baseline.items()}
        open_cache(engine, tuple(self._metadata.tables), rows)

    def wipe(self, session: Session | None = None) -> None:
        """Remove every row that was not there at the start, and put back what was.

        A ``session`` that is to be used again is closed first: it forgets its objects and its transaction.
        """
        if session:
            session.close()
        with self.engine.connect() as connection:
            if self.engine.dialect.name == "sqlite":
                self._wipe_sqlite(connection)
            else:
                self._wipe_postgresql(connection)

    def _wipe_sqlite(self, connection: Connection) -> None:
        # The switch is the connection's, not the transaction's, and the connection returns to Airflow's pool.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        self._restore_all(connection)
        connection.commit()
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")

    def _wipe_postgresql(self, connection: Connection) -> None:
        # A test that failed may have left a transaction open that holds the rows.
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND state LIKE 'idle in transaction%'"
            )
        )
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        self._restore_all(connection)
        connection.commit()

    def _restore_all(self, connection: Connection) -> None:
        quote = self.engine.dialect.identifier_preparer.quote
        for name in self._filled(connection) - self._baseline.keys():
            connection.exec_driver_sql(f"DELETE FROM {quote(name)}")
        for name in self._baseline:
            self._restore(connection, name)

    def _restore(self, connection: Connection, name: str) -> None:
        before = self._baseline[name]
        if self._rows(connection, name) == before:
            return
        table = self._table(name)
        connection.execute(table.delete())
        names = table.columns.keys()
        connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in before])

    def _filled(self, connection: Connection) -> set[str]:
        return filled_tables(connection, tuple(self._metadata.tables))

    def _rows(self, connection: Connection, name: str) -> Rows:
        table = self._table(name)
        order = list(table.primary_key.columns) or list(table.columns)
        return [tuple(row) for row in connection.execute(select(table).order_by(*order))]

    def _table(self, name: str) -> Table:
        return self._metadata.tables[name]
