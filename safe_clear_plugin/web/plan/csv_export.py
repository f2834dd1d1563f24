"""A plan's task instances as a file for a spreadsheet."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from flask import Response
from sqlalchemy.orm import Session

from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.outcomes import reason_words
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_filters import RowFilter
from safe_clear_plugin.core.states import NO_STATE
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.session import new_session
from safe_clear_plugin.web.api.queries import SortedRowsQuery
from safe_clear_plugin.web.app import moments
from safe_clear_plugin.web.plan.table_page import row_filter

MAX_ROWS = 100_000
MAX_BYTES_IN_MEMORY = 1024 * 1024
CHUNK = 64 * 1024
"""Characters sent at a time."""
COLUMNS = (
    "dag_id",
    "run_id",
    "logical_date",
    "run_after",
    "run_type",
    "run_state_before",
    "run_state_after",
    "task_id",
    "map_index",
    "effect",
    "state_before",
    "state_after",
    "try_number",
    "max_tries_after",
    "why",
    "outcome",
    "outcome_why",
    "partition_key",
    "partition_date",
    "rendered_map_index",
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Characters with which a formula begins in a spreadsheet."""


def download(plan: PlanSummary, query: SortedRowsQuery) -> Response:
    """Answer with the rows that the filter lets through, read some at a time.

    They are read into a file first: a browser that takes its time holds no connection to the metadata DB.
    """
    wanted, sort = row_filter(query), query.sort or ""
    with new_session() as session:
        total = plans.count_task_instances(plan, wanted, session)
        file = _written(plan, wanted, sort, total, session)
    answer = Response(_parts(file), mimetype="text/csv")
    answer.headers["Content-Disposition"] = f'attachment; filename="safe-clear-{plan.id}.csv"'
    answer.headers["X-Total-Count"] = str(total)
    return answer


def _written(plan: PlanSummary, wanted: RowFilter, sort: str, total: int, session: Session) -> IO[str]:
    file = tempfile.SpooledTemporaryFile(MAX_BYTES_IN_MEMORY, "w+", encoding="utf-8", newline="")  # noqa: SIM115
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in plans.stream_rows(plan, wanted, sort, session, limit=MAX_ROWS):
        writer.writerow([_harmless(value) for value in _values(plan, row)])
    if total > MAX_ROWS:
        writer.writerow(
            [f"Only the first {MAX_ROWS:,} of {total:,} task instances are listed. Filter to see others."]
        )
    file.seek(0)
    return file


def _parts(file: IO[str]) -> Iterator[str]:
    with file:
        while part := file.read(CHUNK):
            yield part


def _values(plan: PlanSummary, row: Any) -> Iterator[Any]:
    yield plan.dag_id
    yield row.run_id
    yield moments.iso(row.logical_date) if row.logical_date else ""
    yield moments.iso(row.run_after)
    yield row.run_type
    yield row.run_state or NO_STATE
    yield row.run_after_state or NO_STATE
    yield row.task_id
    yield row.map_index
    effect = Effect(row.effect).shown
    yield effect
    yield "" if effect == Effect.CREATE else row.state or NO_STATE
    yield row.after_state or NO_STATE
    yield row.try_number
    yield row.after_max_tries
    yield row.why
    yield row.outcome or ""
    yield reason_words(row.outcome_reason)
    yield row.partition_key or ""
    yield moments.iso(row.partition_date) if row.partition_date else ""
    yield row.rendered_map_index or ""


def _harmless(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
