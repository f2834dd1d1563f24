"""Counts the task instances of a selection, and those that upstream, downstream, past and future add."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dag_versions, setups
from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget
from safe_clear_plugin.airflow_api.selection import companion_counts, live_counts
from safe_clear_plugin.core import selection_counts
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.live_preview import task_tree_selection
from safe_clear_plugin.services.live_preview.model import Added, Counts
from safe_clear_plugin.services.planning.task_matching import TaskFilter

SELECTED = "selected"
PROPAGATION_FIELDS = ("include_upstream", "include_downstream", "include_past", "include_future")
TASK_PROPAGATION_FIELDS = PROPAGATION_FIELDS[:2]


@dataclass(frozen=True, slots=True)
class SelectedVersions:
    """DAG versions: the latest, those that the selected runs use, and those of the runs around them."""

    latest: dag_versions.Version
    used: Mapping[UUID, dag_versions.Version]
    others: Mapping[UUID, dag_versions.Version]


def count_selection(
    selection: Selection,
    tasks: TaskFilter,
    versions: SelectedVersions,
    covered: live_counts.CoveredRuns,
    taken: selection_counts.Taken,
    *,
    budget: Budget,
    session: Session,
) -> Counts | None:
    """Count the selected task instances, and those each direction adds; ``None`` if that takes too long."""
    wider = _taken_with(selection, tasks, versions.used.values(), session)
    covered, tallies = _tally(covered, {SELECTED: taken, **wider}, budget, session)
    if tallies is None:
        return None
    found = selection_counts.add_up(tallies, selection, scope=SELECTED, tasks=SELECTED)
    counts_setups = selection.adds_setups and not selection.is_by_failure
    companions = _companions(versions.used, taken) if counts_setups else {}
    more = companion_counts.count_companions(
        covered, SELECTED, companions, taken, budget=budget, session=session
    )
    if more is None:
        return None
    selection_counts.add(found, more, selection)

    def add_by(name: str) -> Added | None:
        if name in TASK_PROPAGATION_FIELDS and not (selection.names_tasks or selection.is_by_failure):
            return Added(0, 0)
        if any(companions.values()) or (name in TASK_PROPAGATION_FIELDS and selection.is_by_failure):
            # Each run adds other task instances.
            return None
        if name in wider:
            return _added(found, selection_counts.add_up(tallies, selection, scope=SELECTED, tasks=name))
        if name in covered.names:
            return _added(found, selection_counts.add_up(tallies, selection, scope=name, tasks=SELECTED))
        return None

    added = {name: add_by(name) for name in PROPAGATION_FIELDS if not getattr(selection, name)}
    return Counts(found, live_counts.count_cleared_runs(covered, SELECTED, taken, budget, session), added)


def _companions(
    versions: Mapping[UUID, dag_versions.Version], taken: selection_counts.Taken
) -> companion_counts.Companions:
    """Return by DAG version the setups and teardowns of the tasks that are taken."""
    found = {}
    for id_, version in versions.items():
        tasks = taken.get(id_, ())
        names = version.task_ids if tasks is None else dict.fromkeys(task_id for task_id, _ in tasks)
        found[id_] = list(setups.serving(version.dag, names)) if version.dag is not None else []
    return found


def _tally(
    covered: live_counts.CoveredRuns,
    taken: Mapping[str, selection_counts.Taken],
    budget: Budget,
    session: Session,
) -> tuple[live_counts.CoveredRuns, list[selection_counts.Tally] | None]:
    """Count with past and future, unless that takes more than half of the time that is left."""
    if len(covered.names) > 1:
        half = Budget(budget.left / 2)
        tallies = live_counts.count_task_instances(covered, taken, half, session)
        if tallies is not None:
            return covered, tallies
    alone = live_counts.in_range(covered, SELECTED)
    return alone, live_counts.count_task_instances(alone, taken, budget, session)


def _taken_with(
    selection: Selection,
    tasks: TaskFilter,
    versions: Iterable[dag_versions.Version],
    session: Session,
) -> dict[str, selection_counts.Taken]:
    """Return what would be taken with upstream, and with downstream, where they are not asked for."""
    found = {}
    for name in TASK_PROPAGATION_FIELDS:
        if selection.names_tasks and not selection.is_by_failure and not getattr(selection, name):
            wider = with_field(selection, name)
            marks = task_tree_selection.mark(wider, tasks, versions, session)
            found[name] = task_tree_selection.taken(wider, marks)
    return found


def with_field(selection: Selection, name: str) -> Selection:
    """Return the selection with one of the directions ticked."""
    ticked: dict[str, Any] = {name: True}
    return replace(selection, **ticked)


def _added(now: selection_counts.Sum, then: selection_counts.Sum) -> Added:
    return Added(then.total - now.total, then.states["success"] - now.states["success"])
