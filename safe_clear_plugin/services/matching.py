"""Which tasks of a DAG version a selection takes."""

from __future__ import annotations

from typing import Any

import re2
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api import dags, propagation
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.selection import ALL_INDEXES, Selection

SHOWN_TASKS = 20


def compile_regex(pattern: str) -> Any:
    """Compile a task regex with RE2, which no pattern can make slow.

    :raises Invalid: quoting RE2's reason and the fragment
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise Invalid(
            Problem(
                f"RE2 cannot read this regular expression: {text}.",
                "RE2 has no lookaround and no backreferences; the rest is the usual syntax.",
                "task_regex",
            )
        ) from None


def markers(
    selection: Selection, matched: list[str], version: dags.Version, session: Session
) -> dict[propagation.Marker, str]:
    """Return what a selection takes of a DAG version, with why, from the ids of the tasks that it matches.

    :raises Invalid: when a map index is asked for, of several tasks
    """
    if version.dag is None or not matched:
        return {}
    if not selection.task_regex:
        return {(task_id, None): "whole run" for task_id in matched}
    spread = {"upstream": selection.include_upstream, "downstream": selection.include_downstream}
    if selection.map_index is None:
        return {
            (task_id, None): why
            for task_id, why in propagation.with_relatives(version.dag, matched, **spread).items()
        }
    if len(matched) > 1:
        raise Invalid(_several_tasks(selection, matched))
    if (run_id := selection.mapped_in) != ALL_INDEXES:
        return propagation.with_mapped_relatives(
            version.dag, matched[0], selection.map_index, run_id, session=session, **spread
        )
    return propagation.with_relatives_of_index(version.dag, matched[0], selection.map_index, **spread)


def _several_tasks(selection: Selection, matched: list[str]) -> Problem:
    return Problem(
        f"A map index needs one task, but {selection.task_regex} matches {len(matched):,}: "
        f"{', '.join(matched[:SHOWN_TASKS])}.",
        "Narrow the task regex, for example with ^ and $, or leave the map index empty.",
        "map_index",
    )


def no_match(selection: Selection, tasks: str) -> Problem:
    """Refuse a regex that matches none of the tasks, which are listed in ``tasks``."""
    return Problem(
        f"No task of {selection.dag_id} matches {selection.task_regex}.",
        f"Its tasks are {tasks}.",
        "task_regex",
    )
