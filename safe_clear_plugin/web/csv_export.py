"""A plan's task instances as a file for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from flask import Response

from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.selection import NO_STATE
from safe_clear_plugin.storage import listing, reading
from safe_clear_plugin.storage.reading import RowFilter
from safe_clear_plugin.web import rendering
from safe_clear_plugin.web.table_pages import row_filter, sort_of

MOST = 100_000
CHUNK = 1_000
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
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet would take for the beginning of a formula."""


def download(plan: PlanSummary, args: Mapping[str, str]) -> Response:
    """Answer with the rows that the filter lets through, read and sent some at a time."""
    wanted, sort = row_filter(args), sort_of(args)
    with new_session() as session:
        total = reading.count_task_instances(UUID(plan.id), wanted, session)
    answer = Response(_lines(plan, wanted, sort, total), mimetype="text/csv")
    answer.headers["Content-Disposition"] = f'attachment; filename="safe-clear-{plan.id}.csv"'
    answer.headers["X-Total-Count"] = str(total)
    return answer


def _lines(plan: PlanSummary, wanted: RowFilter, sort: str, total: int) -> Iterator[str]:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    # The session lives as long as the answer is being sent, and no longer.
    with new_session() as session:
        for count, row in enumerate(listing.stream(UUID(plan.id), wanted, sort, session, limit=MOST), 1):
            writer.writerow([_harmless(value) for value in _values(plan, row)])
            if count % CHUNK == 0:
                yield _taken(buffer)
    if total > MOST:
        writer.writerow([f"These are the first {MOST:,} of {total:,} task instances; filter for the others."])
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _values(plan: PlanSummary, row: Any) -> Iterator[Any]:
    yield plan.dag_id
    yield row.run_id
    yield rendering.iso(row.logical_date) if row.logical_date else ""
    yield rendering.iso(row.run_after)
    yield row.run_type
    yield row.run_state or NO_STATE
    yield row.run_after_state or NO_STATE
    yield row.task_id
    yield row.map_index
    yield row.effect
    yield "" if row.effect == "create" else row.state or NO_STATE
    yield row.after_state or NO_STATE
    yield row.try_number
    yield row.after_max_tries
    yield row.why


def _harmless(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
