"""Live counts for the selection form: read-only, with a time limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dag_state, dag_versions
from safe_clear_plugin.airflow_api.dag.propagation import Marker
from safe_clear_plugin.airflow_api.platform import statement_timeout
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.airflow_api.scheduling import missing_intervals, partitions
from safe_clear_plugin.airflow_api.selection import live_counts, select_runs
from safe_clear_plugin.core import selection_rules
from safe_clear_plugin.core.inclusion import Reason
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.selection import MOMENTS, Selection
from safe_clear_plugin.services.live_preview import task_tree_selection
from safe_clear_plugin.services.live_preview.model import SelectionPreview
from safe_clear_plugin.services.live_preview.selection_counting import (
    PROPAGATION_FIELDS,
    SELECTED,
    SelectedVersions,
    count_selection,
    with_field,
)
from safe_clear_plugin.services.planning import exclusions, task_matching
from safe_clear_plugin.services.planning.run_scope import resolve_scope
from safe_clear_plugin.services.planning.task_matching import TaskFilter

MAX_RUNS = 20_000
"""Dag runs whose task instances are counted; a preview counts any number."""
MAX_VERSIONS = 20
OF_RANGE = frozenset((*MOMENTS, "timezone", "run_id", "partition_key", "date_field", "run_type", "run_state"))
SECONDS = 4.0
"""Time that all counting together may take: a person who types waits for it."""


def preview_selection(
    selection: Selection, now: datetime, *, broken: frozenset[str] = frozenset()
) -> SelectionPreview:
    """Look at a selection that may not be complete; ``broken`` are the fields that cannot be read."""
    preview = SelectionPreview(now)
    with new_session() as session:
        _PreviewBuilder(preview, selection, broken, session).build()
    return preview


class _PreviewBuilder:
    """Fills a :class:`SelectionPreview`, step by step; each step leaves what it cannot say."""

    def __init__(
        self, preview: SelectionPreview, selection: Selection, broken: frozenset[str], session: Session
    ) -> None:
        self.found = preview
        self.selection = selection
        self.broken = broken
        self.session = session
        self.budget = statement_timeout.Budget(SECONDS)

    def build(self) -> None:
        """Go as far as the filled-in fields lead."""
        dag_id = self.selection.dag_id
        latest = self._latest(dag_id)
        self.found.dag = dag_state.dag_state(dag_id, latest, self.session)
        if latest is None:
            self._refuse(_no_dag(dag_id, self.found.dag))
            return
        self.found.partition_zone = partitions.partition_zone(latest.dag)
        self.found.since = live_counts.last_success(self.selection, self.session)
        tasks = self._tasks()
        scope = self._scope(latest)
        if scope is not None:
            self._describe_range(scope, latest)
        covered, versions = None, SelectedVersions(latest, {latest.id: latest}, {})
        if scope is not None:
            covered, tallies = self._resolve_runs(scope, latest)
            versions = SelectedVersions(latest, *self._versions(tallies, latest))
        if tasks is None:
            self.found.tree = task_tree_selection.tree(latest, {}, {}, self.selection)
        else:
            self._count(tasks, versions, covered)

    def _latest(self, dag_id: str) -> dag_versions.Version | None:
        latest_id = dag_versions.latest_version_id(dag_id, self.session)
        latest = dag_versions.load_versions([latest_id], self.session).get(latest_id) if latest_id else None
        return latest if latest and latest.dag is not None else None

    def _refuse(self, *problems: Problem) -> None:
        self.found.problems.extend(problems)

    def _tasks(self) -> TaskFilter | None:
        if not self.broken.isdisjoint(("task_regex", "task_ids")):
            return None
        try:
            return task_matching.compile_filter(self.selection)
        except Invalid as invalid:
            self._refuse(*invalid.problems)
            return None

    def _scope(self, latest: dag_versions.Version) -> select_runs.Scope | None:
        """Return the range, unless there is none yet or it cannot be read."""
        selection = self.selection
        is_given = (
            selection.has_dates or selection.run_id or selection.partition_key or selection.is_by_failure
        )
        if OF_RANGE & self.broken or not is_given:
            return None
        problems = list(selection_rules.check(self.selection))
        self._refuse(*problems)
        if any(problem.field in ("date_to", "failed_to") for problem in problems):
            return None
        try:
            return resolve_scope(self.selection, latest.dag, self.session)
        except Invalid as invalid:
            self._refuse(*invalid.problems)
            return None

    def _describe_range(self, scope: select_runs.Scope, latest: dag_versions.Version) -> None:
        found = self.found
        found.scope = scope
        found.first, found.last = live_counts.first_and_last(scope, self.session)
        found.undated = live_counts.count_undated(scope, self.budget, self.session) or 0
        if not self.selection.run_id and scope.is_by_date:
            found.missing = missing_intervals.find_missing(latest.dag, scope, found.now, self.session)

    def _resolve_runs(
        self, scope: select_runs.Scope, latest: dag_versions.Version
    ) -> tuple[live_counts.CoveredRuns, list[live_counts.RunTally] | None]:
        """Take the range, and the ranges with past and future as far as these can be counted."""
        on_latest = dag_versions.runs_on_latest(
            self.selection.run_on_latest_version, self.selection.dag_id, self.session
        )
        wider = live_counts.cover_runs({SELECTED: scope, **self._wider_scopes(latest)}, on_latest, latest.id)
        for covered in (wider, live_counts.in_range(wider, SELECTED)):
            tallies = live_counts.count_runs(covered, self.budget, self.session)
            if tallies is not None and not _too_many(tallies):
                break
        if tallies is not None:
            self.found.dag_runs = sum(tally.count for tally in tallies if SELECTED in tally.scopes)
        return covered, tallies

    def _wider_scopes(self, latest: dag_versions.Version) -> dict[str, select_runs.Scope]:
        scopes = {}
        for name in PROPAGATION_FIELDS[2:]:
            if not getattr(self.selection, name):
                try:
                    scopes[name] = resolve_scope(with_field(self.selection, name), latest.dag, self.session)
                except Invalid:
                    continue
        return scopes

    def _versions(
        self, tallies: list[live_counts.RunTally] | None, latest: dag_versions.Version
    ) -> tuple[dict[UUID, dag_versions.Version], dict[UUID, dag_versions.Version]]:
        """Load the DAG versions of the selected runs and those of others, or say why nothing is counted."""
        if tallies is None:
            self.found.not_counted = "Too many dag runs to count here. Preview will show the exact number."
        elif reason := _too_many(tallies):
            self.found.not_counted = reason
        if tallies is None or self.found.not_counted:
            return {latest.id: latest}, {}
        loaded = {latest.id: latest}
        for id_ in {tally.version for tally in tallies} - {latest.id}:
            if not self.budget.left:
                self.found.not_counted = (
                    "The Dag's versions take too long to read here. Preview will show the exact number."
                )
                return {latest.id: latest}, {}
            loaded |= dag_versions.load_versions([id_], self.session)
        wanted = {tally.version for tally in tallies if SELECTED in tally.scopes} or {latest.id}
        used = {id_: version for id_, version in loaded.items() if id_ in wanted}
        return used, {id_: version for id_, version in loaded.items() if id_ not in wanted}

    def _count(
        self,
        tasks: TaskFilter,
        versions: SelectedVersions,
        covered: live_counts.CoveredRuns | None,
    ) -> None:
        """Mark the tasks and, unless something is wrong or missing, count their task instances."""
        used = list(versions.used.values())
        marks = self._mark(tasks, used)
        if not any(marks.values()):
            self._refuse(task_matching.no_match(self.selection, exclusions.listed_tasks(used)))
        try:
            exclusions.require_known(self.selection, used, self.session)
            if any(marks.values()):
                exclusions.require_named(self.selection, [versions.latest, *used], self.session)
        except Invalid as invalid:
            self._refuse(*invalid.problems)
        try:
            marks |= task_tree_selection.mark(self.selection, tasks, versions.others.values(), self.session)
        except Invalid:
            # With past or future runs it would be refused, so there is nothing to be said of them.
            covered = live_counts.in_range(covered, SELECTED) if covered else None
        self.found.tree = task_tree_selection.tree(versions.latest, marks, versions.used, self.selection)
        if covered and not (self.broken or self.found.problems or self.found.not_counted):
            if self.selection.adds_relatives:
                # The relatives of single task instances are found by the preview alone, and not counted here.
                failed, all_versions = self.selection.without_relatives(), [*used, *versions.others.values()]
                marks = dict(task_tree_selection.mark(failed, tasks, all_versions, self.session))
            taken = task_tree_selection.taken(self.selection, marks)
            self.found.counts = count_selection(
                self.selection, tasks, versions, covered, taken, budget=self.budget, session=self.session
            )
            if self.found.counts is None:
                self.found.not_counted = "Too many to count here. Preview will show the exact number."

    def _mark(
        self, tasks: TaskFilter, versions: list[dag_versions.Version]
    ) -> dict[UUID, Mapping[Marker, Reason]]:
        try:
            return dict(task_tree_selection.mark(self.selection, tasks, versions, self.session))
        except Invalid as invalid:
            self._refuse(*invalid.problems)
            whole = replace(self.selection, map_index=None)
            return dict(task_tree_selection.mark(whole, tasks, versions, self.session))


def _too_many(tallies: Iterable[live_counts.RunTally]) -> str:
    """Say why the runs are too many to count their task instances, if they are."""
    tallies = list(tallies)
    if sum(tally.count for tally in tallies) > MAX_RUNS:
        return f"More than {MAX_RUNS:,} dag runs match. Preview will count their task instances."
    versions = len({tally.version for tally in tallies})
    if versions > MAX_VERSIONS:
        return f"The dag runs use {versions:,} Dag versions. Preview will count their task instances."
    return ""


def _no_dag(dag_id: str, dag: dag_state.DagState | None) -> Problem:
    if dag is None:
        return Problem(f"The Dag {dag_id} doesn't exist.", "Choose one from the list.", "dag_id")
    return Problem(
        f"{dag_id} has no serialized version.",
        "Wait until Airflow has parsed its file, or check the Dag's import errors.",
        "dag_id",
    )
