"""Joins and look-ups whose cost depends only on the rows found, with or without statistics.

PostgreSQL expects a single row of a plan that nobody has analyzed, and then compares each row of one table
with each row of another. Only the owner of the tables can analyze them, and often another role runs Airflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, FromClause, Select, case, func, literal, select, text, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import GenericFunction

WITHOUT_LOOPS = text(
    "SELECT current_setting('enable_nestloop') AS nested_loops, current_setting('jit') AS jit, "
    "set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true)"
)
AS_BEFORE = text("SELECT set_config('enable_nestloop', :nested_loops, true), set_config('jit', :jit, true)")
USE_INDEXES = "SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)"
JOIN_RUNS = {"enable_seqscan": "off", "enable_nestloop": "off", "jit": "off"}
NESTED_LOOPS = {"enable_nestloop": "on"}
LOOK_UP = text(f"{USE_INDEXES}, set_config('plan_cache_mode', 'force_custom_plan', true)")


T = TypeVar("T")


@contextmanager
def hash_joins(session: Session) -> Iterator[None]:
    """Have PostgreSQL join without nested loops in the block; other databases are left alone.

    For statements that narrow each of Airflow's tables by a list of dag runs: others would read whole tables.
    The setting is the transaction's, so it ends with a rollback and no pooled connection keeps it.
    """
    if session.get_bind().dialect.name != "postgresql":
        yield
        return
    # A nested loop that cannot be avoided is rated so costly that PostgreSQL would compile the statement.
    before = session.execute(WITHOUT_LOOPS).one()
    yield
    session.execute(AS_BEFORE, {"nested_loops": before.nested_loops, "jit": before.jit})


def join_runs(session: Session) -> None:
    """Have PostgreSQL read the rows of given dag runs only, each once, until the transaction ends.

    It uses an index wherever there is one: a table that was empty when PostgreSQL last looked is otherwise
    read as a whole for each row of another until it has grown. It joins without nested loops. For statements
    that narrow each table by a list of dag runs: others would read whole indexes.
    """
    if columns := settings_columns(JOIN_RUNS, session):
        session.execute(select(*columns))


@contextmanager
def nested_loops(session: Session) -> Iterator[None]:
    """Let PostgreSQL join with nested loops in the block, within :func:`join_runs`."""
    if not (columns := settings_columns(NESTED_LOOPS, session)):
        yield
        return
    session.execute(select(*columns))
    yield
    join_runs(session)


def settings_columns(settings: Mapping[str, str], session: Session) -> list[ColumnElement[Any]]:
    """Return columns for a statement with one row, which set how PostgreSQL plans those after it.

    That saves a statement of its own. The settings end with the transaction. Other databases have none.
    """
    if session.get_bind().dialect.name != "postgresql":
        return []
    return [func.set_config(name, value, true()).label(f"set_{name}") for name, value in settings.items()]


def look_up_rows(session: Session) -> None:
    """Have PostgreSQL use an index wherever there is one, until the transaction ends.

    For statements that look up rows of a plan for each of many rows. Without statistics PostgreSQL can take
    its tables for so small, or their indexes for so large, that it reads all rows each time. A statement that
    the driver has prepared is planned for the current plan, not for the average of earlier ones.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(LOOK_UP)


def exists_row(table: FromClause, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a table has a row that meets the conditions, looked up for each row of the outer query.

    ``OFFSET 0`` keeps PostgreSQL from making a join of it. A look-up by the whole key is quick, however many
    rows PostgreSQL expects.
    """
    found = select(literal(value=1)).select_from(table).where(*conditions)
    return found.correlate_except(table).offset(0).exists()


def exists_of_task(
    table: FromClause, dag_id: str, *conditions: ColumnElement[bool], order: str = "map_index"
) -> ColumnElement[bool]:
    """Whether a DAG has a task instance that meets the conditions, among which are its run and its task.

    Only the index of the whole key has them in the ``order`` of a column of it; the conditions are on the
    columns before that one, and :func:`is_same` is on it, if any. Without statistics PostgreSQL takes any
    index that begins with the DAG for as good.
    """
    found = select(literal(value=1)).select_from(table).where(of_dag(table, dag_id), *conditions)
    return found.order_by(table.c[order]).correlate_except(table).offset(0).exists()


class _Condition(GenericFunction[bool]):
    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Return the condition as it is: SQLite uses no index for ``… IN (…) = 1``."""
        return self


class _is_one_of(_Condition):  # noqa: N801 (the name of an SQL function)
    name = "is_one_of"
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


def of_dag(table: FromClause, dag_id: str) -> ColumnElement[bool]:
    """Whether a row of one of Airflow's tables is of the DAG, which PostgreSQL is told only as it executes.

    Of a DAG that its statistics lack it would expect a single row, and then look rows up by the DAG alone
    instead of by their whole key.
    """
    column = table.c.dag_id
    return column == _given(literal(dag_id, column.type))


def is_same(column: ColumnElement[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether ``column`` is ``value``, as a range: so PostgreSQL can be asked for an order by ``column``."""
    return _is_same(column, value)


def without_index(column: ColumnElement[T]) -> ColumnElement[T]:
    """Return the column for a comparison by which rows are not to be looked up, where a key is compared too.

    Without statistics, PostgreSQL may take any index for as good as the one of the key.
    """
    return case((column.is_not(None), column))


class _is_same(_Condition):  # noqa: N801 (the name of an SQL function)
    name = "is_same"
    inherit_cache = True


@compiles(_is_same)
def _equal(function: Any, compiler: Any, **options: Any) -> str:
    column, value = (compiler.process(one, **options) for one in function.clauses)
    return f"({column} = {value})"


@compiles(_is_same, "postgresql")
def _within(function: Any, compiler: Any, **options: Any) -> str:
    column, value = (compiler.process(one, **options) for one in function.clauses)
    return f"({column} >= {value} AND {column} <= {value})"


class _given(GenericFunction[Any]):  # noqa: N801 (the name of an SQL function)
    name = "given"
    inherit_cache = True


@compiles(_given)
def _scalar_subquery(function: Any, compiler: Any, **options: Any) -> str:
    (value,) = function.clauses
    return f"(SELECT {compiler.process(value, **options)})"


@compiles(_is_one_of)
def _in(function: Any, compiler: Any, **options: Any) -> str:
    column, values = function.clauses
    return f"{compiler.process(column, **options)} IN {compiler.process(values, **options)}"


@compiles(_is_one_of, "postgresql")
def _any_of_array(function: Any, compiler: Any, **options: Any) -> str:
    column, values = function.clauses
    return f"{compiler.process(column, **options)} = ANY (ARRAY{compiler.process(values, **options)})"
