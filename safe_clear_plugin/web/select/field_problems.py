"""The problems of a selection in the form, by field and by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safe_clear_plugin.core.problems import Problem

OF_TASKS = ("task_regex", "task_ids", "map_index", "exclude_task_id", "exclude_task_instance")
OF_STATES = ("state", "failed_from", "failed_to")
OF_DAG = ("dag_id",)


def by_section(broken: dict[str, list[str]], problems: Sequence[Problem]) -> dict[str, list[str]]:
    """Return the problems of each section: ``dag``, ``tasks``, ``when``, ``state``."""
    found: dict[str, list[str]] = {"dag": [], "tasks": [], "when": [], "state": []}
    for name, texts in broken.items():
        found[_section(name)] += texts
    for problem in problems:
        found[_section(problem.field)].append(str(problem))
    return found


def by_field(broken: Mapping[str, list[str]], problems: Sequence[Problem]) -> dict[str, list[str]]:
    """Return the problems that a field is to blame for."""
    found = {name: list(texts) for name, texts in broken.items()}
    for problem in problems:
        if problem.field:
            found.setdefault(problem.field, []).append(str(problem))
    return found


def _section(name: str | None) -> str:
    if name in OF_DAG:
        return "dag"
    if name in OF_TASKS:
        return "tasks"
    return "state" if name in OF_STATES else "when"
