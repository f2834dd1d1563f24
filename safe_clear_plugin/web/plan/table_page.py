"""The table of a plan's task instances: filters, order, pages, ticks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from safe_clear_plugin.core.effects import CLEARED_EFFECTS, Effect
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.outcomes import OUTCOME_LABELS, Outcome
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_filters import EVERY_ROW, RowFilter
from safe_clear_plugin.core.plan_records import TouchedTask
from safe_clear_plugin.core.planned_rows import StateChange, run_date
from safe_clear_plugin.core.states import NO_STATE
from safe_clear_plugin.services import plans
from safe_clear_plugin.web.api.plan_urls import FILTERS, GRID, Address
from safe_clear_plugin.web.api.queries import PlanQuery, RowsFilter
from safe_clear_plugin.web.app import moments, state_labels, template_filters, templating
from safe_clear_plugin.web.app.paging import Page
from safe_clear_plugin.web.grid.grid_page import moment

ROWS = 50
TASKS = 50
RUN_SORTS = ("", "run", "-run")


@dataclass(frozen=True, slots=True)
class RunGroup:
    """A dag run with those of its rows that are on the page, each with the number of its tick."""

    run_id: str
    moment: datetime
    dated: bool
    state: str | None
    after_state: str | None
    partition: str
    """Its partition in words; empty without one."""
    rows: list[tuple[int, Any]]


@dataclass(frozen=True)
class Table:
    """All that ``_rows.html`` draws."""

    address: Address
    filters: RowFilter
    sort: str
    page: Page
    groups: list[RunGroup]
    by_run: bool
    states: list[str]
    effects: list[str]
    outcomes: list[str]
    left_out: int
    tasks: Sequence[TouchedTask]
    more_tasks: bool
    tickable: bool
    """Whether rows can be unticked, to preview again without them."""

    def sorted_href(self, name: str) -> str:
        """Return the address sorted by a column, or the other way round if it is so already."""
        return self.address.rows(sort=f"-{name}" if self.way(name) == "ascending" else name)

    def way(self, name: str) -> str:
        """Return how the table is sorted by a column, in ARIA's words, or nothing."""
        sort = self.sort or "run"
        return "ascending" if sort == name else "descending" if sort == f"-{name}" else ""

    @property
    def chips(self) -> list[tuple[str, str]]:
        """The filters in words, each with the address without it."""
        return [(text, self.address.rows(**gone)) for text, gone in _chips(self.filters)]

    @property
    def kept(self) -> list[tuple[str, str]]:
        """Hidden fields of the filter form: the grid's part, the order, and the filters set by links."""
        names = (*GRID, "sort", "task_id", "run_id", "run_from", "run_to")
        return [(name, value) for name in names for value in self.address.args.getlist(name) if value]

    @property
    def all_href(self) -> str:
        """The address without any filter."""
        return self.address.only()

    @property
    def csv_href(self) -> str:
        """The address of the filtered rows as a file."""
        query = self.address.query({}, of=(*FILTERS, "sort"))
        path = templating.url("task_instances_csv", plan_id=self.address.plan_id)
        return f"{path}?{query}" if query else path

    @property
    def previous_href(self) -> str:
        """The address of the page before, or nothing."""
        return "" if self.page.previous is None else self.address.rows(offset=str(self.page.previous))

    @property
    def next_href(self) -> str:
        """The address of the page after, or nothing."""
        return "" if self.page.next is None else self.address.rows(offset=str(self.page.next))

    def task_href(self, task_id: str) -> str:
        """Return the address of the rows of one task."""
        return self.address.only(task_id=task_id)

    @staticmethod
    def outcome_label(outcome: str) -> str:
        """Return an outcome as the table writes it."""
        return OUTCOME_LABELS[Outcome(outcome)]

    @staticmethod
    def key(row: Any) -> str:
        """Return what names a task instance in a selection."""
        return json.dumps(TaskInstanceKey(row.run_id, row.task_id, row.map_index).to_json())

    @staticmethod
    def partition(row: Any) -> str:
        """Return the partition of the row's run in words."""
        return moments.partition(row.partition_key, row.partition_date)

    @staticmethod
    def moment(row: Any) -> datetime:
        """Return the date that the row's run goes by."""
        return run_date(row)


def row_filter(query: RowsFilter) -> RowFilter:
    """Return the filter of a plan's rows that the query asks for."""
    return RowFilter(
        task=query.task or "",
        run=query.run or "",
        state=query.state or "",
        effect=query.effect or "",
        outcome=query.outcome or "",
        why=query.why or "",
        task_id=query.task_id or "",
        run_id=query.run_id or "",
        map_index=query.map_index,
        run_from=moment(query.run_from),
        run_to=moment(query.run_to),
    )


def table(
    plan: PlanSummary,
    query: PlanQuery,
    changes: Sequence[StateChange],
    tasks: Sequence[TouchedTask],
    session: Session,
    *,
    tickable: bool,
) -> Table:
    """Return the page of rows that the query asks for."""
    wanted, sort = row_filter(query), query.sort or ""
    everything = sum(change.count for change in changes)
    narrowed = wanted != EVERY_ROW
    total = plans.count_task_instances(plan, wanted, session) if narrowed else everything
    page = Page(total, query.offset if query.offset < total else 0, ROWS)
    rows = plans.sorted_rows(plan, wanted, sort, session, offset=page.offset, limit=ROWS)
    by_run = sort in RUN_SORTS
    return Table(
        address=Address(plan.id, query.args()),
        filters=wanted,
        sort=sort,
        page=page,
        groups=list(_groups(rows)) if by_run else [_ungrouped(rows)] if rows else [],
        by_run=by_run,
        states=sorted(
            {change.before or NO_STATE for change in changes if change.effect.shown != Effect.CREATE}
        ),
        effects=sorted({change.effect.shown for change in changes}),
        outcomes=[outcome for outcome in Outcome if plan.outcomes.get(outcome)],
        left_out=sum(change.count for change in changes if change.effect == "leave_out"),
        tasks=tasks[:TASKS],
        more_tasks=len(tasks) > TASKS,
        tickable=tickable,
    )


def page(plan: PlanSummary, query: PlanQuery, session: Session, *, tickable: bool) -> str:
    """Render the table alone, for a page that puts it in place of the one it has."""
    changes, tasks = plans.state_changes(plan, session), plans.tasks(plan, session)
    found = table(plan, query, changes, tasks, session, tickable=tickable)
    return templating.render("_rows.html", table=found, plan=plan)


def _numbered(rows: Sequence[Row[Any]]) -> Iterator[tuple[int, Row[Any]]]:
    """Number the rows that have a tick, as their hidden fields are numbered by their order."""
    count = 0
    for row in rows:
        yield count, row
        count += row.effect in CLEARED_EFFECTS


def _groups(rows: Sequence[Row[Any]]) -> Iterator[RunGroup]:
    for run_id, found in groupby(_numbered(rows), key=lambda pair: pair[1].run_id):
        group = list(found)
        yield _group(group[0][1], run_id, group)


def _ungrouped(rows: Sequence[Row[Any]]) -> RunGroup:
    return _group(rows[0], "", list(_numbered(rows)))


def _group(first: Row[Any], run_id: str, rows: list[tuple[int, Any]]) -> RunGroup:
    date = Table.moment(first)
    dated = first.logical_date is not None
    partition = moments.partition(first.partition_key, first.partition_date)
    return RunGroup(run_id, date, dated, first.run_state, first.run_after_state, partition, rows)


def _chips(wanted: RowFilter) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each filter that is set in words, and what to change to be rid of it."""
    if wanted.task:
        yield f"task contains {wanted.task}", {"task": ""}
    if wanted.task_id:
        yield f"task {wanted.task_id}", {"task_id": ""}
    if wanted.run:
        yield f"run contains {wanted.run}", {"run": ""}
    if wanted.run_id:
        yield f"run {wanted.run_id}", {"run_id": ""}
    if wanted.run_from or wanted.run_to:
        start = f"from {moments.when(wanted.run_from)}" if wanted.run_from else ""
        end = f"before {moments.when(wanted.run_to)}" if wanted.run_to else ""
        yield f"runs {' '.join(filter(None, (start, end)))}", {"run_from": "", "run_to": ""}
    if wanted.map_index is not None:
        yield f"map index {wanted.map_index}", {"map_index": ""}
    if wanted.state:
        yield f"state {state_labels.state_label(wanted.state)}", {"state": ""}
    if wanted.effect:
        yield f"effect {template_filters.effect_label(wanted.effect)}", {"effect": ""}
    if wanted.outcome:
        yield f"outcome {OUTCOME_LABELS[Outcome(wanted.outcome)]}", {"outcome": ""}
    if wanted.why:
        yield f"why contains {wanted.why}", {"why": ""}
