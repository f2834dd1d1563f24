"""What the database itself needs: a handful of set-based statements for the same rows."""

from __future__ import annotations

from typing import Any

from airflow import settings
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from sqlalchemy import Connection, Table, text

from bench.scopes import Scope
from bench.stage import Action, Stage

BY_DATES = "dag_id = %(dag_id)s AND logical_date BETWEEN %(date_from)s AND %(date_to)s"
BY_RUN = "dag_id = %(dag_id)s AND run_id = %(run_id)s"

ROWS = """
SELECT ti.id, ti.run_id, ti.task_id, ti.map_index, ti.state, ti.try_number, ti.max_tries,
       ti.dag_version_id, ti.operator
FROM dag_run r JOIN task_instance ti ON ti.dag_id = r.dag_id AND ti.run_id = r.run_id
WHERE {runs}
"""
AGGREGATE = """
SELECT ti.task_id, ti.state, count(*)
FROM dag_run r JOIN task_instance ti ON ti.dag_id = r.dag_id AND ti.run_id = r.run_id
WHERE {runs} GROUP BY ti.task_id, ti.state
"""
CLEAR = (
    """
    INSERT INTO task_instance_history ({columns}, task_instance_id)
    SELECT {columns_of_ti}, ti.id
    FROM dag_run r JOIN task_instance ti ON ti.dag_id = r.dag_id AND ti.run_id = r.run_id
    WHERE {runs}
    """,
    """
    DELETE FROM task_reschedule USING dag_run r JOIN task_instance ti
        ON ti.dag_id = r.dag_id AND ti.run_id = r.run_id
    WHERE task_reschedule.ti_id = ti.id AND {runs}
    """,
    """
    UPDATE task_instance ti
    SET id = gen_random_uuid(), state = NULL, max_tries = ti.try_number + ti.max_tries,
        external_executor_id = NULL, next_method = NULL, next_kwargs = NULL, updated_at = now()
    FROM dag_run r WHERE ti.dag_id = r.dag_id AND ti.run_id = r.run_id AND {runs}
    """,
    """
    UPDATE dag_run r SET state = 'queued', queued_at = now(), start_date = NULL, end_date = NULL,
        last_scheduling_decision = NULL, clear_number = clear_number + 1
    WHERE {runs}
    """,
)
COPIES = (
    "DROP TABLE IF EXISTS bench_before_ti, bench_before_run",
    """
    CREATE TABLE bench_before_ti AS SELECT ti.*
    FROM dag_run r JOIN task_instance ti ON ti.dag_id = r.dag_id AND ti.run_id = r.run_id WHERE {runs}
    """,
    "CREATE TABLE bench_before_run AS SELECT r.* FROM dag_run r WHERE {runs}",
)
UNDO = (
    "DELETE FROM task_instance_history h USING bench_before_ti b WHERE h.task_instance_id = b.id",
    """
    UPDATE task_instance ti SET {assignments} FROM bench_before_ti b
    WHERE ti.dag_id = b.dag_id AND ti.run_id = b.run_id
        AND ti.task_id = b.task_id AND ti.map_index = b.map_index
    """,
    """
    UPDATE dag_run r SET state = b.state, queued_at = b.queued_at, start_date = b.start_date,
        end_date = b.end_date, last_scheduling_decision = b.last_scheduling_decision,
        clear_number = b.clear_number
    FROM bench_before_run b WHERE r.id = b.id
    """,
)
KEY = ("dag_id", "run_id", "task_id", "map_index")


def preview(_: Stage, scope: Scope) -> Action:
    """Nine columns of every row, fetched by the driver."""
    return _fetching(ROWS, scope, len)


def aggregate_preview(_: Stage, scope: Scope) -> Action:
    """Only how many there are of each task in each state."""
    return _fetching(AGGREGATE, scope, lambda rows: sum(row[2] for row in rows))


def _fetching(query: str, scope: Scope, size: Any) -> Action:
    found = [0]

    def run() -> int:
        with settings.engine.connect() as connection:
            result = connection.exec_driver_sql(query.format(runs=_runs(scope)), _values(scope))
            found[0] = size(result.cursor.fetchall())
        return 0

    return Action(run, lambda: found[0])


def apply(_: Stage, scope: Scope) -> Action:
    """The rows rewritten, and their history kept, in four statements."""
    return Action(lambda: _clear(scope), _cleared(scope))


def undo(_: Stage, scope: Scope) -> Action:
    """The rows put back from a copy of them."""
    names = [column.name for column in _table(TaskInstance).c if column.name not in KEY]
    assignments = ", ".join(f"{name} = b.{name}" for name in names)
    with settings.engine.begin() as connection:
        for copy in COPIES:
            _execute(connection, copy, scope)
        connection.execute(text("ANALYZE bench_before_ti"))
    _clear(scope)

    def run() -> int:
        with settings.engine.begin() as connection:
            for statement in UNDO:
                _execute(connection, statement, scope, assignments=assignments)
        return 0

    return Action(run, lambda: scope.task_instances - _cleared(scope)())


def _clear(scope: Scope) -> int:
    history = {column.name for column in _table(TaskInstanceHistory).c}
    columns = [column.name for column in _table(TaskInstance).c if column.name in history]
    own = ", ".join(f"ti.{column}" for column in columns)
    with settings.engine.begin() as connection:
        for statement in CLEAR:
            _execute(connection, statement, scope, columns=", ".join(columns), columns_of_ti=own)
    return 0


def _cleared(scope: Scope) -> Any:
    def count() -> int:
        query = f"SELECT count(*) FROM ({ROWS.format(runs=_runs(scope))}) rows WHERE state IS NULL"
        with settings.engine.connect() as connection:
            return int(connection.exec_driver_sql(query, _values(scope)).scalar_one())

    return count


def _execute(connection: Connection, statement: str, scope: Scope, **parts: str) -> None:
    connection.exec_driver_sql(statement.format(runs=_runs(scope), **parts), _values(scope))


def _table(model: Any) -> Table:
    table: Table = model.__table__
    return table


def _runs(scope: Scope) -> str:
    condition = BY_RUN if scope.run_id else BY_DATES
    return condition.replace("dag_id =", "r.dag_id =").replace("run_id =", "r.run_id =")


def _values(scope: Scope) -> dict[str, Any]:
    return {
        "dag_id": scope.dag_id,
        "run_id": scope.run_id,
        "date_from": scope.date_from,
        "date_to": scope.date_to,
    }
