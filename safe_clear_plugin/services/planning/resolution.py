"""Resolves a selection before anything is written: its dag runs, and the DAG versions that they use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dag_versions
from safe_clear_plugin.airflow_api.selection import select_runs
from safe_clear_plugin.core.problems import Invalid, NothingMatches, Problem
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.planning import exclusions, newer_tasks, no_runs, task_matching
from safe_clear_plugin.services.planning.run_scope import resolve_scope
from safe_clear_plugin.services.planning.shapes import Shapes

MAX_VERSIONS = 1_000
"""DAG versions in one plan: each of them is read, and is in memory meanwhile."""


@dataclass(frozen=True)
class Resolution:
    """A selection, resolved."""

    selection: Selection
    latest: dag_versions.Version
    scope: select_runs.Scope
    on_latest: bool
    """Whether the runs move to the latest DAG version."""
    target: dag_versions.LatestVersion
    versions: dict[UUID, dag_versions.Version]
    """The DAG versions that the runs use when they re-run."""
    shapes: Shapes
    model: Any
    """The Dag's row, kept so that the session does not read it again."""

    def add(self, versions: Mapping[UUID, dag_versions.Version]) -> None:
        """Take in versions of runs that have come since."""
        self.shapes.add(versions.values())
        self.versions.update(versions)


def resolve(selection: Selection, tasks: task_matching.TaskFilter, session: Session) -> Resolution:
    """Read what the selection is about; write nothing.

    :raises Invalid: when there is nothing like that, or too much
    """
    model = dag_versions.get_dag_model(selection.dag_id, session)
    latest = _latest_version(selection.dag_id, model, session)
    scope = resolve_scope(selection, latest.dag, session)
    on_latest = dag_versions.runs_on_latest(selection.run_on_latest_version, selection.dag_id, session)
    versions = _used_versions(scope, on_latest, latest, session)
    exclusions.require_known(selection, versions.values(), session)
    shapes = Shapes(selection, tasks, session)
    shapes.add(versions.values())
    if selection.names_tasks and not any(shape.matched for shape in shapes):
        raise NothingMatches(_no_task(scope, tasks, latest, versions, session))
    exclusions.require_named(selection, [latest, *versions.values()], session)
    target = _move_target(latest, session, selection)
    return Resolution(selection, latest, scope, on_latest, target, versions, shapes, model)


def _no_task(
    scope: select_runs.Scope,
    tasks: task_matching.TaskFilter,
    latest: dag_versions.Version,
    versions: Mapping[UUID, dag_versions.Version],
    session: Session,
) -> Problem:
    """Return why no task of the runs' own versions is meant; the latest one may have such a task."""
    if newer := tasks.matching(latest):
        there = {task_id for version in versions.values() for task_id in version.task_ids}
        return newer_tasks.not_in_runs(scope, latest, newer, there, session)
    return task_matching.no_match(scope.selection, exclusions.listed_tasks(versions.values()))


def _latest_version(dag_id: str, model: Any, session: Session) -> dag_versions.Version:
    if model is None:
        raise Invalid(Problem(f"The Dag {dag_id} doesn't exist.", "Choose one from the list.", "dag_id"))
    latest_id = dag_versions.latest_version_id(dag_id, session)
    latest = dag_versions.load_versions([latest_id], session).get(latest_id) if latest_id else None
    if latest is None or latest.dag is None:
        raise Invalid(
            Problem(
                f"{dag_id} has no serialized version.",
                "Wait until Airflow has parsed its file, or check the Dag's import errors.",
                "dag_id",
            )
        )
    return latest


def _move_target(
    latest: dag_versions.Version, session: Session, selection: Selection
) -> dag_versions.LatestVersion:
    bundle = (
        dag_versions.bundle_version_of(selection.dag_id, session)
        if dag_versions.has_bundle_versioning(latest)
        else None
    )
    return dag_versions.LatestVersion(latest.id, bundle)


def _used_versions(
    scope: select_runs.Scope, on_latest: bool, latest: dag_versions.Version, session: Session
) -> dict[UUID, dag_versions.Version]:
    ids = select_runs.used_versions(scope, on_latest, latest.id, session)
    if not ids:
        raise NothingMatches(no_runs.explain(scope, session))
    if len(ids) > MAX_VERSIONS:
        raise Invalid(_too_many_versions(scope.selection, len(ids)))
    loaded = dag_versions.load_versions([id_ for id_ in ids if id_ != latest.id], session)
    return {id_: latest if id_ == latest.id else loaded[id_] for id_ in ids}


def _too_many_versions(selection: Selection, number: int) -> Problem:
    return Problem(
        f"The dag runs use {number:,} Dag versions. A plan can have {MAX_VERSIONS:,} at most.",
        "Choose fewer runs or a shorter date range, or run on the latest version.",
        no_runs.field_of_runs(selection),
    )
