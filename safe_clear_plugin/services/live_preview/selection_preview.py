"""What a selection would take, said while it is being made. Reads only, and in bounded time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dag_state, dag_versions
from safe_clear_plugin.airflow_api.dag.propagation import Marker
from safe_clear_plugin.airflow_api.platform import statement_timeout
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.airflow_api.scheduling import missing_intervals
from safe_clear_plugin.airflow_api.selection import live_counts, select_runs
from safe_clear_plugin.core import policy, selection_counts
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.reasons import Reason
from safe_clear_plugin.core.regex import Regex
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.live_preview import task_tree_selection
from safe_clear_plugin.services.live_preview.model import Added, Counts, Scouted
from safe_clear_plugin.services.planning import exclusions, task_matching
from safe_clear_plugin.services.planning.run_scope import resolve_scope

MOST_RUNS = 20_000
"""Dag runs whose task instances are counted; a preview counts any number."""
MOST_VERSIONS = 20
SECONDS = 4.0
"""Time that all counting together may take: whoever types waits for it."""

SELECTED = "selected"
SPREADS = ("include_upstream", "include_downstream", "include_past", "include_future")
OF_TASKS = SPREADS[:2]


def scout(selection: Selection, now: datetime, *, broken: frozenset[str] = frozenset()) -> Scouted:
    """Look at a selection that may not be complete; ``broken`` are the fields that cannot be read."""
    scouted = Scouted(now)
    with new_session() as session:
        _Scout(scouted, selection, broken, session).look()
    return scouted


@dataclass(frozen=True, slots=True)
class _Versions:
    """DAG versions: the latest, those that the selected runs use, and those of the runs around them."""

    latest: dag_versions.Version
    used: Mapping[UUID, dag_versions.Version]
    others: Mapping[UUID, dag_versions.Version]


class _Scout:
    """Fills a :class:`Scouted`, step by step; each step leaves what it cannot say."""

    def __init__(
        self, scouted: Scouted, selection: Selection, broken: frozenset[str], session: Session
    ) -> None:
        self.found = scouted
        self.selection = selection
        self.broken = broken
        self.session = session
        self.budget = statement_timeout.Budget(SECONDS)

    def look(self) -> None:
        """Go as far as what is filled in leads."""
        dag_id = self.selection.dag_id
        latest = self._latest(dag_id)
        self.found.dag = dag_state.dag_state(dag_id, latest, self.session)
        if latest is None:
            self._refuse(_no_dag(dag_id, self.found.dag))
            return
        self.found.since = live_counts.last_success(self.selection, self.session)
        pattern = self._pattern()
        scope = self._scope()
        if scope is not None:
            self._look_at_range(scope, latest)
        covered, versions = None, _Versions(latest, {latest.id: latest}, {})
        if scope is not None:
            covered, tallies = self._cover(scope, latest)
            versions = _Versions(latest, *self._versions(tallies, latest))
        if pattern is None:
            self.found.tree = task_tree_selection.tree(latest, {}, {}, self.selection)
        else:
            self._count(pattern, versions, covered)

    def _latest(self, dag_id: str) -> dag_versions.Version | None:
        latest_id = dag_versions.latest_version_id(dag_id, self.session)
        latest = dag_versions.load_versions([latest_id], self.session).get(latest_id) if latest_id else None
        return latest if latest and latest.dag is not None else None

    def _refuse(self, *problems: Problem) -> None:
        self.found.problems.extend(problems)

    def _pattern(self) -> Regex | None:
        if "task_regex" in self.broken:
            return None
        try:
            return task_matching.compile_regex(self.selection.task_regex)
        except Invalid as invalid:
            self._refuse(*invalid.problems)
            return None

    def _scope(self) -> select_runs.Scope | None:
        """Return the range, unless there is none yet or it cannot be read."""
        of_range = {"date_from", "date_to", "timezone", "run_id", "date_field", "run_type", "run_state"}
        if of_range & self.broken or not (self.selection.has_dates or self.selection.run_id):
            return None
        problems = list(policy.check(self.selection))
        self._refuse(*problems)
        if any(problem.field == "date_to" for problem in problems):
            return None
        try:
            return resolve_scope(self.selection, self.session)
        except Invalid as invalid:
            self._refuse(*invalid.problems)
            return None

    def _look_at_range(self, scope: select_runs.Scope, latest: dag_versions.Version) -> None:
        found = self.found
        found.scope = scope
        found.first, found.last = live_counts.first_and_last(scope, self.session)
        found.undated = live_counts.count_undated(scope, self.budget, self.session) or 0
        if not self.selection.run_id:
            found.missing = missing_intervals.find_missing(latest.dag, scope, found.now, self.session)

    def _cover(
        self, scope: select_runs.Scope, latest: dag_versions.Version
    ) -> tuple[live_counts.CoveredRuns, list[live_counts.RunTally] | None]:
        """Take the range, and what it would be with past and future so far as these can be counted."""
        on_latest = dag_versions.runs_on_latest(
            self.selection.run_on_latest_version, self.selection.dag_id, self.session
        )
        wider = live_counts.cover_runs({SELECTED: scope, **self._wider_scopes()}, on_latest, latest.id)
        for covered in (wider, live_counts.in_range(wider, SELECTED)):
            tallies = live_counts.count_runs(covered, self.budget, self.session)
            if tallies is not None and not _too_many(tallies):
                break
        if tallies is not None:
            self.found.dag_runs = sum(tally.count for tally in tallies if SELECTED in tally.scopes)
        return covered, tallies

    def _wider_scopes(self) -> dict[str, select_runs.Scope]:
        scopes = {}
        for name in SPREADS[2:]:
            if not getattr(self.selection, name):
                try:
                    scopes[name] = resolve_scope(_with(self.selection, name), self.session)
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

    def _count(self, pattern: Regex, versions: _Versions, covered: live_counts.CoveredRuns | None) -> None:
        """Mark the tasks and, unless something is wrong or missing, count their task instances."""
        used = list(versions.used.values())
        marks = self._mark(pattern, used)
        if not any(marks.values()):
            self._refuse(task_matching.no_match(self.selection, exclusions.listed_tasks(used)))
        try:
            exclusions.require_known(self.selection, used, self.session)
        except Invalid as invalid:
            self._refuse(*invalid.problems)
        try:
            marks |= task_tree_selection.mark(self.selection, pattern, versions.others.values(), self.session)
        except Invalid:
            # With past or future runs it would be refused, so there is nothing to be said of them.
            covered = live_counts.in_range(covered, SELECTED) if covered else None
        self.found.tree = task_tree_selection.tree(versions.latest, marks, versions.used, self.selection)
        if covered and not (self.broken or self.found.problems or self.found.not_counted):
            self.found.counts = self._counts(
                pattern, versions, covered, task_tree_selection.taken(self.selection, marks)
            )

    def _mark(
        self, pattern: Regex, versions: list[dag_versions.Version]
    ) -> dict[UUID, Mapping[Marker, Reason]]:
        try:
            return dict(task_tree_selection.mark(self.selection, pattern, versions, self.session))
        except Invalid as invalid:
            self._refuse(*invalid.problems)
            whole = replace(self.selection, map_index=None)
            return dict(task_tree_selection.mark(whole, pattern, versions, self.session))

    def _counts(
        self,
        pattern: Regex,
        versions: _Versions,
        covered: live_counts.CoveredRuns,
        taken: selection_counts.Taken,
    ) -> Counts | None:
        wider = self._taken_with(pattern, versions.used.values())
        indexes = selection_counts.indexes_asked_for([taken, *wider.values()])
        covered, tallies = self._tally(covered, indexes)
        if tallies is None:
            self.found.not_counted = "Too many to count here. Preview will show the exact number."
            return None
        found = selection_counts.add_up(tallies, taken, self.selection, SELECTED)
        added: dict[str, Added | None] = {}
        for name in SPREADS:
            if getattr(self.selection, name):
                continue
            if name in OF_TASKS and not self.selection.task_regex:
                added[name] = Added(0, 0)
            elif name in wider:
                added[name] = _added(
                    found, selection_counts.add_up(tallies, wider[name], self.selection, SELECTED)
                )
            elif name in covered.names:
                added[name] = _added(found, selection_counts.add_up(tallies, taken, self.selection, name))
            else:
                added[name] = None
        cleared = live_counts.count_cleared_runs(covered, SELECTED, taken, self.budget, self.session)
        return Counts(found, cleared, added)

    def _tally(
        self, covered: live_counts.CoveredRuns, indexes: set[int]
    ) -> tuple[live_counts.CoveredRuns, list[selection_counts.Tally] | None]:
        """Count with past and future, unless that takes more than half of the time that is left."""
        if len(covered.names) > 1:
            half = statement_timeout.Budget(self.budget.left / 2)
            tallies = live_counts.count_task_instances(covered, indexes, half, self.session)
            if tallies is not None:
                return covered, tallies
        alone = live_counts.in_range(covered, SELECTED)
        return alone, live_counts.count_task_instances(alone, indexes, self.budget, self.session)

    def _taken_with(
        self, pattern: Regex, versions: Iterable[dag_versions.Version]
    ) -> dict[str, selection_counts.Taken]:
        """Return what would be taken with upstream, and with downstream, where they are not asked for."""
        found = {}
        for name in OF_TASKS:
            if self.selection.task_regex and not getattr(self.selection, name):
                wider = _with(self.selection, name)
                marks = task_tree_selection.mark(wider, pattern, versions, self.session)
                found[name] = task_tree_selection.taken(wider, marks)
        return found


def _with(selection: Selection, name: str) -> Selection:
    ticked: dict[str, Any] = {name: True}
    return replace(selection, **ticked)


def _too_many(tallies: Iterable[live_counts.RunTally]) -> str:
    """Say why the runs are too many to count their task instances, if they are."""
    tallies = list(tallies)
    if sum(tally.count for tally in tallies) > MOST_RUNS:
        return f"More than {MOST_RUNS:,} dag runs match. Preview will count their task instances."
    versions = len({tally.version for tally in tallies})
    if versions > MOST_VERSIONS:
        return f"The dag runs use {versions:,} Dag versions. Preview will count their task instances."
    return ""


def _added(now: selection_counts.Sum, then: selection_counts.Sum) -> Added:
    return Added(then.total - now.total, then.states["success"] - now.states["success"])


def _no_dag(dag_id: str, dag: dag_state.DagState | None) -> Problem:
    if dag is None:
        return Problem(f"The Dag {dag_id} doesn't exist.", "Choose one from the list.", "dag_id")
    return Problem(
        f"{dag_id} has no serialized version.",
        "Wait until Airflow has parsed its file, or check the Dag's import errors.",
        "dag_id",
    )
