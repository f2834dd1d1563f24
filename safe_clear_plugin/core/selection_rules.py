"""What no selection may ask for."""

from __future__ import annotations

from collections.abc import Iterator

from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.selection import Selection


def check(selection: Selection) -> Iterator[Problem]:
    """Yield what is wrong with a selection as such, before any DAG or run is looked at."""
    if not (selection.has_dates or selection.run_id or selection.partition_key):
        yield Problem(
            "No dates or runs are chosen. You can't clear every run at once.",
            "Choose a date range, or list run ids or partition keys.",
            "date_from",
        )
    if selection.date_from and selection.date_to and selection.date_from > selection.date_to:
        yield Problem("“From” is later than “To”.", "Swap the two dates, or correct one.", "date_to")
    if selection.map_index is not None and not selection.task_regex:
        yield Problem(
            "A map index needs one task or one mapped task group, but no task is chosen.",
            "Enter a task regex that matches one mapped task or the tasks of one mapped task group, or leave "
            "the map index empty.",
            "map_index",
        )
