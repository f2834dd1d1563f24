"""Checks that named and excluded tasks and runs exist: a misspelt exclusion would be cleared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dag_versions
from safe_clear_plugin.airflow_api.selection import select_runs, select_task_instances
from safe_clear_plugin.core.input_limits import NAMES_SHOWN
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.selection import Selection


def require_known(selection: Selection, versions: Iterable[dag_versions.Version], session: Session) -> None:
    """Refuse to exclude a task, a dag run or a task instance that the DAG does not have.

    :raises Invalid: with a problem at each field that names such a one
    """
    if problems := list(_problems(selection, list(versions), session)):
        raise Invalid(*problems)


def require_named(selection: Selection, versions: Iterable[dag_versions.Version], session: Session) -> None:
    """Refuse to select a task by an id that the DAG does not have.

    :raises Invalid: with a problem that names such tasks
    """
    versions = list(versions)
    if tasks := _unknown(selection.task_ids, selection.dag_id, versions, session):
        raise Invalid(
            Problem(
                f"{selection.dag_id} has no task {_listed(tasks)}.",
                f"Its tasks are {listed_tasks(versions)}.",
                "task_ids",
            )
        )


def listed_tasks(versions: Iterable[dag_versions.Version]) -> str:
    """Return the ids of the first tasks of all these versions."""
    return _listed(list(dict.fromkeys(task for version in versions for task in version.task_ids)))


def _problems(
    selection: Selection, versions: list[dag_versions.Version], session: Session
) -> Iterator[Problem]:
    if tasks := _unknown(selection.exclude_task_id, selection.dag_id, versions, session):
        yield Problem(
            f"{selection.dag_id} has no task {_listed(tasks)} to exclude.",
            f"Its tasks are {listed_tasks(versions)}.",
            "exclude_task_id",
        )
    if selection.exclude_run_id and (
        missing := select_runs.missing_runs(selection.dag_id, selection.exclude_run_id, session)
    ):
        yield Problem(
            f"{selection.dag_id} has no dag run {_listed(missing)} to exclude.",
            "Copy the run id from the Dag's list of runs.",
            "exclude_run_id",
        )
    if selection.exclude_task_instance and (
        gone := select_task_instances.missing_task_instances(selection, session)
    ):
        names = [
            f"{row.task_id} [{row.map_index}] of {row.run_id}"
            if row.map_index >= 0
            else f"{row.task_id} of {row.run_id}"
            for row in gone
        ]
        yield Problem(
            f"{selection.dag_id} has no task instance {_listed(names)} to exclude.",
            "The map index of a task that is not mapped is -1.",
            "exclude_task_instance",
        )


def _unknown(
    task_ids: Iterable[str], dag_id: str, versions: Iterable[dag_versions.Version], session: Session
) -> list[str]:
    """Return the tasks that are neither in the DAG nor have a task instance from when they were."""
    in_dag = {task_id for version in versions for task_id in version.task_ids}
    doubtful = [task_id for task_id in task_ids if task_id not in in_dag]
    known = select_task_instances.task_ids_with_rows(dag_id, doubtful, session) if doubtful else set()
    return [task_id for task_id in doubtful if task_id not in known]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
