"""The tasks of a DAG version that a selection takes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dag_versions, propagation
from safe_clear_plugin.core.inclusion import FAILED, WHOLE_RUN, Reason
from safe_clear_plugin.core.input_limits import NAMES_SHOWN
from safe_clear_plugin.core.plan_text import named_tasks
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.regex import Regex, RegexError
from safe_clear_plugin.core.selection import ALL_INDEXES, Selection


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """A compiled task regex, and the ids that narrow it further if there are any."""

    pattern: Regex
    task_ids: frozenset[str]

    def matching(self, version: dag_versions.Version) -> list[str]:
        """Return the ids of the tasks of a DAG version that are selected.

        :raises Invalid: when that takes too long
        """
        named = [one for one in version.task_ids if one in self.task_ids or not self.task_ids]
        try:
            return self.pattern.matching(named)
        except RegexError as error:
            raise Invalid(_regex_problem(error)) from None


def compile_filter(selection: Selection) -> TaskFilter:
    """Compile what chooses the tasks of a selection.

    :raises Invalid: when its regex is too long or too large, or RE2 cannot read it
    """
    try:
        return TaskFilter(Regex(selection.task_regex), frozenset(selection.task_ids))
    except RegexError as error:
        raise Invalid(_regex_problem(error)) from None


def field_of_tasks(selection: Selection) -> str:
    """Return the field that chooses the tasks."""
    return "task_ids" if selection.task_ids else "task_regex"


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
    if not selection.names_tasks:
        why = FAILED if selection.is_by_failure else WHOLE_RUN
        return {(task_id, None): why for task_id in matched}
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
    chosen = f"{selection.task_regex} matches" if selection.task_regex else "there are"
    return Problem(
        f"A map index needs one task or one mapped task group, but {chosen} "
        f"{len(matched):,} tasks that share none: {', '.join(matched[:NAMES_SHOWN])}.",
        "Narrow the task regex, for example with ^ and $, or leave the map index empty.",
        "map_index",
    )


def no_match(selection: Selection, tasks: str) -> Problem:
    """Refuse a regex or ids that match none of the tasks, which are listed in ``tasks``."""
    regex, dag_id = selection.task_regex, selection.dag_id
    return Problem(
        f"No task of {dag_id} matches {regex}." if regex else f"{dag_id} has no {named_tasks(selection)}.",
        f"Its tasks are {tasks}.",
        field_of_tasks(selection),
    )
