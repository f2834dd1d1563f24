"""The rules that every selection must follow."""

from __future__ import annotations

from collections.abc import Iterator

from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.selection import Selection


def check(selection: Selection) -> Iterator[Problem]:
    """Yield the problems of a selection that show without reading its DAG or runs."""
    if not (selection.has_dates or selection.run_id or selection.partition_key or selection.is_by_failure):
        yield Problem(
            "No dates or runs are chosen. You can't clear every run at once.",
            "Choose a date range or when task instances failed, or list run ids or partition keys.",
            "date_from",
        )
    if selection.date_from and selection.date_to and selection.date_from > selection.date_to:
        yield Problem("“From” is later than “To”.", "Swap the two dates, or correct one.", "date_to")
    if selection.failed_from and selection.failed_to and selection.failed_from > selection.failed_to:
        yield Problem(
            "“Failed from” is later than “Failed to”.", "Swap the two times, or correct one.", "failed_to"
        )
    if selection.task_regex and selection.task_ids:
        yield Problem(
            "Both a task regex and task ids choose the tasks.", "Leave one of them empty.", "task_ids"
        )
    if selection.map_index is not None and not selection.names_tasks:
        yield Problem(
            "A map index needs one task or one mapped task group, but no task is chosen.",
            "Enter a task regex that matches one mapped task or the tasks of one mapped task group, or leave "
            "the map index empty.",
            "map_index",
        )
