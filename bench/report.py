"""The tables on the screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.databases import DRIVERS
from bench.names import LABELS, TITLES, WAYS

Row = dict[str, Any]
COLUMNS = (
    "",
    "driver",
    "time",
    "× ours",
    "CPU",
    "CPU × ours",
    "DB CPU",
    "memory",
    "statements",
    "longest txn",
    "out",
)

STARTUP = ("", "plugins loaded", "app ready", "memory", "modules", "another request")
BREATHING = ("", "heartbeat", "scheduler's runs", "scheduler's pick", "/api/v2/version", "while it took")


def show(console: Console, title: str, rows: Iterable[Row]) -> None:
    """Print a table for each operation and size."""
    console.rule(title)
    for (op, size), group in groupby(in_order(rows), key=lambda row: (row["op"], row["size"])):
        console.print(_table(f"{TITLES[op]}: {size:,}", list(group)))


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Return rows by operation, size, driver and who it was."""
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[int, ...]:
    op, driver = row["op"], DRIVERS.index(row["driver"])
    return list(WAYS).index(op), row["size"], driver, WAYS[op].index(row["who"])


def table_rows(rows: Iterable[Row]) -> Iterator[list[str]]:
    """Yield the cells of rows of one operation and size, each beside ours with the same driver."""
    rows = list(rows)
    ours = {row["driver"]: row for row in rows if row["who"] == "ours"}
    for row in rows:
        yield [LABELS[row["who"]], row["driver"], *cells(row, ours.get(row["driver"], {}))]


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if number > 1 else "left", no_wrap=True)
    for found in table_rows(rows):
        table.add_row(*found)
    return table


def cells(row: Row, ours: Row) -> list[str]:
    """Return the cells of a row: what it took, and how many times as much as ours."""
    if row["seconds"] is None:
        return [row["note"]]
    return [
        seconds(row["seconds"]),
        ratio(row["seconds"], ours.get("seconds")),
        seconds(row["cpu_seconds"]),
        ratio(row["cpu_seconds"], ours.get("cpu_seconds")),
        seconds(row["server_cpu_seconds"]),
        f"{row['peak_mb']:,.0f} MB",
        f"{row['statements']:,.0f}",
        seconds(row["longest_txn_seconds"]),
        f"{row['bytes'] / 1000:,.0f} kB" if row["bytes"] else "",
    ]


def seconds(value: float) -> str:
    """Write a duration with about three digits."""
    if value < 1:
        return f"{value * 1000:,.{0 if value >= 0.1 else 1}f} ms"
    return f"{value:,.{2 if value < 10 else 1}f} s"


def ratio(value: float, of: float | None) -> str:
    """Write how many times as much something is."""
    if not of:
        return ""
    times = value / of
    return f"{times:,.2f}" if times < 10 else f"{times:,.0f}"


def show_startup(console: Console, rows: Iterable[Row]) -> None:
    """Print what the plugin adds to a server."""
    table = Table(title="Start-up and idle", title_justify="left", title_style="bold")
    for name in STARTUP:
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        table.add_row(*startup_cells(row))
    console.print(table)


def startup_cells(row: Row) -> list[str]:
    """Return the cells of what a server took to start."""
    return [
        row["what"],
        seconds(row["plugins_seconds"]),
        seconds(row["app_seconds"]),
        f"{row['memory_mb']:,.0f} MB",
        f"{row['modules']:,.0f}",
        seconds(row["request_seconds"]),
    ]


def show_breathing(console: Console, rows: Iterable[Row]) -> None:
    """Print how long others waited."""
    table = Table(title="Longest wait of others", title_justify="left", title_style="bold")
    for name in BREATHING:
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        table.add_row(*breathing_cells(row))
    console.print(table)


def breathing_cells(row: Row) -> list[str]:
    """Return the cells of how long others waited at the most."""
    waits = [row[probe] for probe in ("heartbeat", "runs", "pick", "version")]
    return [LABELS[row["who"]], *(seconds(wait["longest"]) for wait in waits), seconds(row["seconds"])]
