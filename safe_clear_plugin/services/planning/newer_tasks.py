"""Tasks of the DAG that its dag runs do not have: what they are, and what creates them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.selection import present_rows
from safe_clear_plugin.airflow_api.selection.select_runs import Scope
from safe_clear_plugin.core.formats import count, join_some, verb
from safe_clear_plugin.core.input_limits import TASK_REGEX
from safe_clear_plugin.core.problems import Problem, Suggestion
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.findings.wording import join_tasks
from safe_clear_plugin.services.planning.task_matching import field_of_tasks

WHY = "added to the Dag after them, or deleted since"


def not_in_runs(
    scope: Scope,
    latest: Version,
    task_ids: Sequence[str],
    there: Collection[str],
    session: Session,
) -> Problem:
    """Refuse to clear tasks without a task instance in the runs, which have those of ``there``.

    The clear of another task on the latest version creates them, in a run that has finished
    (``DagRun.verify_integrity``); in one that goes on it does not.
    """
    runs = present_rows.count_runs(scope, session)
    having = "This run has" if runs == 1 else f"These {count(runs, 'run')} have"
    were = verb(len(task_ids), "it was", "they were")
    reason = f"{having} no task instance of {join_tasks(task_ids)}: {were} {WHY}."
    known = [task_id for task_id in task_ids if latest.dag.has_task(task_id)]
    created = present_rows.count_runs_to_create_in(scope, latest.dag, known, session) if known else 0
    if not created:
        return Problem(reason, "Choose other runs, or other tasks.", field_of_tasks(scope.selection))
    beside = _relatives(latest, known, there)
    example = f", such as {join_tasks(beside)}," if beside else ""
    it = verb(len(known), "it", "them")
    in_runs = "" if created == runs else f" in the {count(created, 'run')} that can get {it}"
    return Problem(
        reason,
        f"Clear a task that {verb(runs, 'it has', 'they have')}{example} on the latest version as well. "
        f"That creates {join_tasks(known)}{in_runs}.",
        field_of_tasks(scope.selection),
        tuple(_with(scope.selection, [*beside, *known], beside)),
    )


def _relatives(latest: Version, task_ids: Sequence[str], there: Collection[str]) -> list[str]:
    """Return the tasks directly upstream that the runs have, else those directly downstream."""
    tasks = [latest.dag.get_task(task_id) for task_id in task_ids]
    for side in ("upstream_task_ids", "downstream_task_ids"):
        if found := sorted({id_ for task in tasks for id_ in getattr(task, side)} & set(there)):
            return found
    return []


def _with(selection: Selection, task_ids: Sequence[str], beside: Sequence[str]) -> list[Suggestion]:
    regex = f"^({'|'.join(map(re.escape, task_ids))})$"
    if not beside or len(regex) > TASK_REGEX:
        return []
    changes: dict[str, Any] = {"task_regex": regex, "task_ids": [], "run_on_latest_version": True}
    unfiltered: dict[str, Any] = {"state": [], "map_index": None, "index_run_id": ""}
    excluded = [task_id for task_id in selection.exclude_task_id if task_id not in task_ids]
    return [
        Suggestion(
            f"Preview with {join_some(beside, 'task')} on the latest version",
            {**changes, **unfiltered, "exclude_task_id": excluded},
        )
    ]
