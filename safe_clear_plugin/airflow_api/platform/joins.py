"""Joins and look-ups that cost what there is to find, with or without statistics.

PostgreSQL expects a single row of a plan that nobody has analyzed, and then compares each row of one table
with each row of another. Only the owner of the tables can analyze them, and often another role runs Airflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, FromClause, Select, literal, select, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import GenericFunction

AS_CONFIGURED = text(
    "SELECT current_setting('enable_nestloop') AS nested_loops, current_setting('jit') AS jit"
)
CONFIGURE = text("SELECT set_config('enable_nestloop', :nested_loops, true), set_config('jit', :jit, true)")


@contextmanager
def hash_joins(session: Session) -> Iterator[None]:
    """Have PostgreSQL join without nested loops in the block; other databases are left alone.

    For statements that narrow each of Airflow's tables by a list of dag runs: others would read whole tables.
    The setting is the transaction's, so it ends with a rollback and no pooled connection keeps it.
    """
    if session.get_bind().dialect.name != "postgresql":
        yield
        return
    before = session.execute(AS_CONFIGURED).mappings().one()
    # A nested loop that cannot be avoided is rated so costly that PostgreSQL would compile the statement.
    session.execute(CONFIGURE, {"nested_loops": "off", "jit": "off"})
    yield
    session.execute(CONFIGURE, {**before})


def exists_row(table: FromClause, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a table has a row that meets the conditions, looked up for each row of the outer query.

    ``OFFSET 0`` keeps PostgreSQL from making a join of it. A look-up by the whole key is quick, however many
    rows PostgreSQL expects.
    """
    found = select(literal(value=1)).select_from(table).where(*conditions)
    return found.correlate_except(table).offset(0).exists()


class _is_one_of(GenericFunction[bool]):  # noqa: N801 (the name of an SQL function)
    name = "is_one_of"
    type = Boolean()
    inherit_cache = True


def is_one_of(column: ColumnElement[Any], values: Select[Any]) -> ColumnElement[bool]:
    """Whether ``column`` is among ``values``, which PostgreSQL reads first and looks up in an index.

    An ``IN (SELECT …)`` would be one more join.
    """
    return _is_one_of(column, values.scalar_subquery())


def is_fixed(column: ColumnElement[Any], value: UUID) -> ColumnElement[bool]:
    """Whether ``column`` is ``value``, which PostgreSQL does not carry over to the columns joined with it.

    A join by a whole key then looks up that key. Told both tables' values, PostgreSQL may take the rows of
    one for a single row, and go through all of them for each row of the other.
    """
    return is_one_of(column, select(literal(value, column.type)))


@compiles(_is_one_of)
def _in(function: Any, compiler: Any, **options: Any) -> str:
    column, values = function.clauses
    return f"{compiler.process(column, **options)} IN {compiler.process(values, **options)}"


@compiles(_is_one_of, "postgresql")
def _any_of_array(function: Any, compiler: Any, **options: Any) -> str:
    column, values = function.clauses
    return f"{compiler.process(column, **options)} = ANY (ARRAY{compiler.process(values, **options)})"
