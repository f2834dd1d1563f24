"""The grid of a plan: its level of time, its columns and rows, and the content of the cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CTE
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import dag_versions, task_groups
from safe_clear_plugin.airflow_api.platform.joins import hash_joins
from safe_clear_plugin.core.grid import folding, model, time_buckets
from safe_clear_plugin.core.grid.model import Cell, Column, Level, Node, Row, Segment
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services import grid_columns
from safe_clear_plugin.storage import grid_cells, grid_queries
from safe_clear_plugin.storage.findings import task_counts, task_relations
from safe_clear_plugin.storage.grid_cells import Counted
from safe_clear_plugin.storage.grid_queries import Extent, Window

MAX_CELLS = 3_000
MIN_ROWS, MAX_ROWS = 25, 100
OTHER_VERSIONS = 4
MAX_HOURS = 48
SUFFICIENT_COLUMNS = 14
"""Columns that leave nothing to wish for: a coarser level would show less and not fit better."""


@dataclass(frozen=True, slots=True)
class Question:
    """The requested part of the grid, and its level; with ``live`` the states are those of now."""

    level: Level | None = None
    start: datetime | None = None
    end: datetime | None = None
    opened: frozenset[str] = frozenset()
    first_row: int = 0
    first_column: int = 0
    live: bool = False
    restorable: bool = False
    """Whether the task instances that an undo would put back now are marked; needs ``live``."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The part that is shown, and the other parts."""

    level: Level
    levels: tuple[Level, ...]
    whole: Extent
    here: Extent
    columns: tuple[Column, ...]
    all_columns: int
    rows: tuple[Row, ...]
    all_rows: int
    runs: Mapping[object, Cell]
    question: Question

    @property
    def zoomed(self) -> bool:
        """Whether it shows a part of the plan's time."""
        return self.question.start is not None or self.question.end is not None


def build(
    plan: PlanSummary, question: Question, session: Session, *, tasks: Collection[str] | None = None
) -> Grid | None:
    """Return the grid; ``None`` for a plan without runs.

    ``tasks`` are the sorted ids of those that the plan has, where they are known.
    """
    window = Window(UUID(plan.id), plan.dag_id, question.start, question.end)
    whole = grid_queries.extent(Window(window.plan_id, window.dag_id), session)
    here = whole if window.is_whole else grid_queries.extent(window, session)
    if whole is None:
        return None
    if here is None:
        return build(plan, replace(question, start=None, end=None), session, tasks=tasks)
    nodes, rows = _rows(question, tasks, window, session)
    level = question.level or _level(here, len(rows))
    columns, all_columns, source, window = grid_columns.columns(
        level, question.first_column, window, whole, here, session=session
    )
    shown, all_rows = _page(rows, len(columns), question.first_row)
    asked = None if len(shown) == len(nodes) else [row.node.id for row in shown if row.kind == "task"]
    stale = any(finding.code == "stale_downstream" for finding in plan.findings)
    with hash_joins(session):
        found = _count(window, columns, source, asked, session, question=question, stale=stale)
        runs = _run_cells(window, columns, source, session, live=question.live)
    if asked is None:
        shown += _gone(found, nodes)
    columns = [replace(one, runs=runs[one.key].count if one.key in runs else 0) for one in columns]
    return Grid(
        level=level,
        levels=tuple(_levels(here)),
        whole=whole,
        here=here,
        columns=tuple(columns),
        all_columns=all_columns,
        rows=tuple(_filled(shown, found)),
        all_rows=all_rows,
        runs=runs,
        question=question,
    )


def _rows(
    question: Question, tasks: Collection[str] | None, window: Window, session: Session
) -> tuple[list[Node], list[Row]]:
    """Return the tasks and groups, and the rows; those that the plan leaves alone are folded together."""
    if tasks is None:
        tasks = [task.task_id for task in task_counts.tasks(window.plan_id, session)]
    nodes = _nodes(window.plan_id, tasks, session)
    concerned = {*tasks, *task_relations.downstream_tasks(window.plan_id, session)}
    return nodes, folding.folded(nodes, concerned, question.opened)


def _nodes(plan_id: UUID, tasks: Iterable[str], session: Session) -> list[Node]:
    """Return the tasks of the DAG version that most runs use, then those of others, then those gone."""
    ids = grid_queries.versions_by_use(plan_id, session)[: 1 + OTHER_VERSIONS]
    versions = dag_versions.load_versions(ids, session)
    trees = [task_groups.nodes(versions[id_]) for id_ in ids if id_ in versions]
    others = [node for tree in trees[1:] for node in tree]
    known = {node.id for tree in trees for node in tree}
    return folding.with_others(trees[0] if trees else [], others, [one for one in tasks if one not in known])


def _gone(found: Sequence[Counted], nodes: Sequence[Node]) -> list[Row]:
    known = {node.id for node in nodes}
    gone = {one.task_id for one in found if one.task_id not in known}
    return [Row("group" if n.group else "task", n, len(n.path)) for n in folding.with_others([], [], gone)]


def _level(here: Extent, rows: int) -> Level:
    """Choose the finest level that fits; tasks that do not fit are paged."""
    fits = MAX_CELLS // max(1, min(rows, MAX_ROWS))
    span = here.last - here.first
    if here.runs <= min(grid_columns.MAX_RUNS, fits) or span < timedelta(hours=1):
        return "run"
    if span < timedelta(days=1):
        return "hour"
    return time_buckets.fitting(
        here.first, here.last, min(grid_columns.MAX_BINS, fits), time_buckets.UNITS[1:]
    )


def _levels(here: Extent) -> Iterable[Level]:
    """Yield the levels that are worth a choice."""
    if here.runs <= grid_columns.MAX_RUNS or here.last - here.first < timedelta(hours=1):
        yield "run"
    finer = SUFFICIENT_COLUMNS + 1
    for unit in time_buckets.UNITS:
        count = len(time_buckets.starts(here.first, here.last, unit, grid_columns.MAX_BINS + 1))
        if (
            1 < count <= grid_columns.MAX_BINS
            and finer > SUFFICIENT_COLUMNS
            and (unit != "hour" or count <= MAX_HOURS)
        ):
            yield unit
            finer = count


def page_size(columns: int) -> int:
    """Return how many lines are shown at once."""
    return min(MAX_ROWS, max(MIN_ROWS, MAX_CELLS // max(1, columns)))


def _page(rows: Sequence[Row], columns: int, first: int) -> tuple[list[Row], int]:
    size = page_size(columns)
    first = first if 0 <= first < len(rows) else 0
    return list(rows[first : first + size]), len(rows)


def _count(
    window: Window,
    columns: Sequence[Column],
    source: CTE,
    task_ids: Collection[str] | None,
    session: Session,
    *,
    question: Question,
    stale: bool,
) -> list[Counted]:
    if question.live:
        found = grid_cells.cleared_cells(window, source, task_ids, session)
        if question.restorable:
            found += grid_cells.restorable_cells(window, source, task_ids, session)
    else:
        found = grid_cells.planned_cells(window.plan_id, source, task_ids, session)
        if stale:
            found += grid_cells.stale_cells(window, source, task_ids, session)
    found += grid_cells.other_cells(window, source, task_ids, session)
    if beside := [cast(str, one.run_id) for one in columns if not one.planned]:
        found += grid_cells.neighbour_cells(window, beside, task_ids, session)
    return found


def _run_cells(
    window: Window, columns: Sequence[Column], source: CTE, session: Session, *, live: bool
) -> dict[object, Cell]:
    segments: dict[object, list[Segment]] = defaultdict(list)
    for row in grid_queries.bin_runs(source, session, live=live):
        segments[row.key].append(_run_segment(row, live=live))
    beside = [cast(str, one.run_id) for one in columns if not one.planned]
    for row in grid_queries.run_states(window, beside, session) if beside else ():
        segments[row.run_id].append(Segment("untouched", row.state, None, 1))
    return {key: model.cell(found) for key, found in segments.items()}


def _run_segment(row: Any, *, live: bool) -> Segment:
    if live:
        return Segment("cleared" if row.applied and row.taken else "untouched", row.state, None, row.n)
    return Segment("clear" if row.taken else "untouched", row.state, row.after_state, row.n)


def _filled(rows: Iterable[Row], found: Iterable[Counted]) -> Iterable[Row]:
    """Put the counts into their lines."""
    segments: dict[str, dict[object, list[Segment]]] = defaultdict(lambda: defaultdict(list))
    whys: dict[str, dict[object, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in found:
        segments[one.task_id][one.column].append(one.segment)
        if one.why:
            whys[one.task_id][one.column].add(one.why)
    for row in rows:
        mine = segments.get(row.node.id, {}) if row.kind == "task" else {}
        why = whys.get(row.node.id, {})
        yield replace(
            row, cells={key: model.cell(parts, _only(why.get(key, ()))) for key, parts in mine.items()}
        )


def _only(whys: Collection[str]) -> str:
    return next(iter(whys)) if len(whys) == 1 else ""
