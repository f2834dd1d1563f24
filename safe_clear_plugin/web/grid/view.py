"""The values that ``_grid.html`` draws, with the addresses of other levels and pages of the grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from safe_clear_plugin.core.grid.cell_text import describe
from safe_clear_plugin.core.grid.model import CHANGED_KINDS, Cell, Column, Row, Segment
from safe_clear_plugin.services.grid import Grid, page_size
from safe_clear_plugin.web.api.plan_urls import Address
from safe_clear_plugin.web.app.paging import Page

FINISHED = ("success", "failed", "upstream_failed", "skipped", "removed")
MAX_ICONS, MAX_MIXED = 600, 300
"""Cells with icons, or drawn in parts, that a page has: each is some hundred bytes."""
FEW = 14
"""Columns of time, at most, that have numbers over their cells."""
MIN_WIDTH = 6.0
"""Per cent of a mixed cell that its smallest part gets, so that it can be seen."""
KIND_WORDS = {
    "clear": "will be cleared (top: now, bottom: after)",
    "terminate": "running; will be terminated",
    "create": "will be created",
    "restore": "will be restored",
    "remove": "will be marked removed",
    "leave_out": "running; left out",
    "comes_back": "will be restored by the undo",
    "cleared": "cleared by this plan",
    "put_back": "restored by the undo",
    "stale": "succeeded; will go stale",
    "untouched": "not cleared",
}


@dataclass(frozen=True, slots=True)
class Head:
    """A heading over several columns, with its link."""

    text: str
    columns: int
    runs: int
    href: str


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column as it is drawn; ``filter`` is what it asks of the table, as a query."""

    column: Column
    text: str
    label: str
    href: str
    filter: str


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a mixed cell: where it begins and how wide it is, of a hundred."""

    segment: Segment
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell as it is drawn: by its ``first`` part, or ``mixed`` from ``shares``."""

    cell: Cell
    look: str
    first: Segment
    words: str
    shares: tuple[Share, ...] = ()

    @property
    def outline(self) -> float:
        """The length of the outline around the parts that change; they come first."""
        return round(sum(one.width for one in self.shares if one.segment.kind in CHANGED_KINDS), 1)

    @property
    def after(self) -> bool:
        """Whether there is a state to show under the one it has now."""
        return self.first.kind in ("clear", "terminate", "create", "restore", "remove")


@dataclass(frozen=True)
class View:
    """All that ``_grid.html`` draws."""

    grid: Grid
    density: str
    heads: list[Head]
    columns: list[ColumnView]
    bands: list[tuple[bool, int]]
    levels: list[tuple[str, str, bool]]
    title: str
    whole_href: str
    row_page: Page
    column_page: Page
    address: Address
    kinds: list[str]
    fragment_url: str
    filters: bool
    """Whether there is a table on the page that a task, a run or a cell can filter."""
    names: dict[str, str] = field(default_factory=dict)
    """The texts of cells, each once, with the id by which they refer to it."""

    def named(self, found: CellView) -> str:
        """Return the id of what a cell says."""
        return self.names.setdefault(found.words, f"w{len(self.names)}")

    @property
    def icons(self) -> bool:
        """Whether cells have room for Airflow's icons, and are few enough for their weight."""
        return self.density == "roomy" and self.cells <= MAX_ICONS

    @property
    def moving(self) -> bool:
        """Whether something that was cleared has yet to finish, so that the grid is to be read again."""
        parts = (part for row in self.grid.rows for one in row.cells.values() for part in one.segments)
        return any(part.kind in ("comes_back", "cleared") and part.state not in FINISHED for part in parts)

    def cell(self, row: Row, column: Column) -> CellView | None:
        """Return the cell of a line at a column."""
        return self._drawn(row.cells.get(column.key), column)

    def run(self, column: Column) -> CellView | None:
        """Return the dag run, or runs, of a column."""
        return self._drawn(self.grid.runs.get(column.key), column)

    def _drawn(self, found: Cell | None, column: Column) -> CellView | None:
        if found is None:
            return None
        in_parts = self.few and column.run_id is None
        return _cell(found, in_parts=in_parts or (len(found.segments) > 1 and self.parts))

    @cached_property
    def parts(self) -> bool:
        """Whether the cells that are not alike throughout are few enough to be drawn in parts."""
        mixed = (one for row in self.grid.rows for one in row.cells.values() if len(one.segments) > 1)
        return sum(1 for _ in mixed) <= MAX_MIXED

    @property
    def few(self) -> bool:
        """Whether the columns are few enough to have numbers over their cells."""
        return self.density == "bins" and len(self.columns) <= FEW and self.cells <= MAX_MIXED

    @property
    def cells(self) -> int:
        """The number of cells that there is room for."""
        return len(self.columns) * len(self.grid.rows)

    def total(self, row: Row) -> int:
        """Count the task instances of a line in the runs of the plan."""
        planned = (one.key for one in self.grid.columns if one.planned)
        return sum(row.cells[key].count for key in planned if key in row.cells)

    @property
    def previous_row(self) -> int:
        """Return where the page of lines before this one begins."""
        return max(0, self.row_page.offset - page_size(len(self.columns)))

    def paged(self, **changes: int) -> str:
        """Return the address of another page of columns or lines."""
        return self.address.page(changes, "grid")

    def toggle(self, row: Row) -> str:
        """Return the address that opens or closes a fold."""
        opened = [name for name in self.address.args.getlist("open") if name != row.node.id]
        return self.address.page({"open": opened if row.open else [*opened, row.node.id]}, "grid")

    @staticmethod
    def kind_words(kind: str) -> str:
        """Say what a mark means."""
        return KIND_WORDS[kind]


def _cell(found: Cell, *, in_parts: bool) -> CellView:
    first = found.segments[0]
    if in_parts:
        return CellView(found, "mixed", first, describe(found), tuple(_shares(found)))
    look = first.kind.replace("_", "-") + (" part" if len(found.segments) > 1 else "")
    return CellView(found, look, first, describe(found))


def _shares(found: Cell) -> Iterator[Share]:
    widths = [max(MIN_WIDTH, 100 * segment.count / found.count) for segment in found.segments]
    x = 0.0
    scale = 100 / sum(widths)
    for segment, width in zip(found.segments, (one * scale for one in widths), strict=True):
        yield Share(segment, round(x, 1), round(width, 1))
        x += width
