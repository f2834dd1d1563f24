"""The tables, in Markdown: ``python -m bench.report [build/bench.json …]`` prints those of earlier runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Listing:
    """What one part of the benchmark lists: a row for each way or server that was measured."""

    title: str
    columns: tuple[str, ...]
    """All but the first column, whose head is the title."""
    cells: Callable[[Row], list[str]]


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


def _startup_cells(row: Row) -> list[str]:
    """Return the cells of what a server took to start."""
    return [
        row["what"],
        seconds(row["plugins_seconds"]),
        seconds(row["app_seconds"]),
        f"{row['memory_mb']:,.0f} MB",
        f"{row['modules']:,.0f}",
        seconds(row["request_seconds"]),
    ]


def _other_dags_cells(row: Row) -> list[str]:
    """Return the cells of how long the runs of another DAG waited for their task to start."""
    counts = [str(row["runs"]), str(row["started"])]
    return [LABELS[row["who"]], *counts, seconds(row["median"]), seconds(row["longest"])]


def _breathing_cells(row: Row) -> list[str]:
    """Return the cells of how long others waited at the most."""
    waits = [row[probe] for probe in ("heartbeat", "runs", "pick", "version")]
    return [LABELS[row["who"]], *(seconds(wait["longest"]) for wait in waits), seconds(row["seconds"])]


def _idle_driver_cells(row: Row) -> list[str]:
    """Return the cells of what an api-server took that nobody asked for anything."""
    return [
        LABELS[row["who"]],
        seconds(row["cpu_seconds"]),
        f"{row['transactions']:,}",
        seconds(row["seconds"]),
    ]


LISTINGS = {
    "breathing": Listing(
        "Longest wait of others",
        ("heartbeat", "scheduler's runs", "scheduler's pick", "/api/v2/version", "while it took"),
        _breathing_cells,
    ),
    "other_dags": Listing(
        "Start of another DAG", ("runs", "started", "median wait", "longest wait"), _other_dags_cells
    ),
    "idle_driver": Listing("An idle api-server", ("CPU", "transactions", "while"), _idle_driver_cells),
    "startup": Listing(
        "Start-up", ("plugins loaded", "app ready", "memory", "modules", "another request"), _startup_cells
    ),
}
"""By their names in the result."""

SECTIONS = {
    "rows": "",
    "rows_delayed": ", each round trip {delay_ms} ms longer",
    "rows_mapped": ", one mapped dag run",
}


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a result: the machine, and a table for each operation, size and part."""
    machine, versions, history = result["machine"], result["versions"], result["history"]
    yield (
        f"{machine['cpus']} × {machine['cpu']}, {machine['memory_gb']} GB; "
        f"Airflow {versions['apache-airflow']}, PostgreSQL {versions['postgresql'].split()[0]}, "
        f"Python {versions['python']}; {history['task_instances']:,} task instances "
        f"in {history['dag_runs']:,} dag runs."
    )
    for name, suffix in SECTIONS.items():
        if name in result:
            rows = in_order(result[name] + result[f"{name}_beside"])
            yield from _sections(rows, suffix.format(delay_ms=result.get("delay_ms")))
    for name, listing in LISTINGS.items():
        if name in result:
            yield from _table([listing.title, *listing.columns], map(listing.cells, result[name]))


def _sections(rows: list[Row], suffix: str) -> Iterator[str]:
    for (op, size), group in groupby(rows, key=lambda row: (row["op"], row["size"])):
        yield from _table([f"{TITLES[op]}, {size:,}{suffix}", *COLUMNS[1:]], table_rows(group))


def _table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    filled = [head, *(row + [""] * (len(head) - len(row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    ruler = [
        ("-" * width).ljust(3, "-") if place == 0 else "-" * max(width - 1, 3) + ":"
        for place, width in enumerate(widths)
    ]
    yield ""
    for row in (filled[0], ruler, *filled[1:]):
        yield f"| {' | '.join(_aligned(row, widths))} |"


def _aligned(row: list[str], widths: list[int]) -> Iterator[str]:
    for place, (text, width) in enumerate(zip(row, widths, strict=True)):
        yield text.rjust(width) if place else text.ljust(width)


if __name__ == "__main__":
    for path in sys.argv[1:] or ["build/bench.json"]:
        print("\n".join(lines(json.loads(Path(path).read_text()))))
