"""Which tasks of a DAG version a selection takes."""

from __future__ import annotations

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dag_versions, propagation
from safe_clear_plugin.core.inclusion import WHOLE_RUN, Reason
from safe_clear_plugin.core.input_limits import NAMES_SHOWN
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.regex import Regex, RegexError
from safe_clear_plugin.core.selection import ALL_INDEXES, Selection


def compile_regex(pattern: str) -> Regex:
    """Compile a task regex.

    :raises Invalid: when it is too long or too large, or RE2 cannot read it
    """
    try:
        return Regex(pattern)
    except RegexError as error:
        raise Invalid(_regex_problem(error)) from None


def matched_tasks(pattern: Regex, version: dag_versions.Version) -> list[str]:
    """Return the ids of the tasks of a DAG version that a task regex matches.

    :raises Invalid: when that takes too long
    """
    try:
        return pattern.matching(version.task_ids)
    except RegexError as error:
        raise Invalid(_regex_problem(error)) from None


def _regex_problem(error: RegexError) -> Problem:
    return Problem(error.reason, error.remedy, "task_regex")


def markers(
    selection: Selection, matched: list[str], version: dag_versions.Version, session: Session
) -> dict[propagation.Marker, Reason]:
    """Return what a selection takes of a DAG version, with why, from the ids of the tasks that it matches.

    :raises Invalid: when a map index is asked for, of several tasks that share no mapped task group
    """
    if version.dag is None or not matched:
        return {}
    if not selection.task_regex:
        return {(task_id, None): WHOLE_RUN for task_id in matched}
    spread = {"upstream": selection.include_upstream, "downstream": selection.include_downstream}
    if selection.map_index is None:
        return {
            (task_id, None): why
            for task_id, why in propagation.with_relatives(version.dag, matched, **spread).items()
        }
    run_id = None if selection.mapped_in == ALL_INDEXES else selection.mapped_in
    if len(matched) > 1:
        if not propagation.common_mapped_groups(version.dag, matched):
            raise Invalid(_several_tasks(selection, matched))
        return propagation.with_relatives_of_group(
            version.dag, matched, selection.map_index, run_id, session=session, **spread
        )
    if run_id is not None:
        return propagation.with_mapped_relatives(
            version.dag, matched[0], selection.map_index, run_id, session=session, **spread
        )
    return propagation.with_relatives_of_index(version.dag, matched[0], selection.map_index, **spread)


def _several_tasks(selection: Selection, matched: list[str]) -> Problem:
    return Problem(
        f"A map index needs one task or one mapped task group, but {selection.task_regex} matches "
        f"{len(matched):,} tasks that share none: {', '.join(matched[:NAMES_SHOWN])}.",
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
