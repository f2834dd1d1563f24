"""The tables for a page of documentation: ``python -m bench.markdown [build/bench.json …]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.names import TITLES
from bench.report import (
    BREATHING,
    COLUMNS,
    STARTUP,
    Row,
    breathing_cells,
    in_order,
    startup_cells,
    table_rows,
)

SECTIONS = {
    "rows": "",
    "rows_delayed": ", each round trip {delay_ms} ms longer",
    "rows_mapped": ", one mapped dag run",
}


def main(paths: list[str]) -> None:
    """Print what was measured, one file after the other."""
    for path in paths or ["build/bench.json"]:
        print("\n".join(_lines(json.loads(Path(path).read_text()))))


def _lines(result: dict[str, Any]) -> Iterator[str]:
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
    if "breathing" in result:
        yield from _table(
            ["Longest wait of others", *BREATHING[1:]], map(breathing_cells, result["breathing"])
        )
    if "startup" in result:
        yield from _table(["Start-up", *STARTUP[1:]], map(startup_cells, result["startup"]))


def _sections(rows: list[Row], suffix: str) -> Iterator[str]:
    for (op, size), group in groupby(rows, key=lambda row: (row["op"], row["size"])):
        yield from _table([f"{TITLES[op]}, {size:,}{suffix}", *COLUMNS[1:]], table_rows(group))


def _table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"| --- |{' ---: |' * (len(head) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row + [''] * (len(head) - len(row)))} |"


if __name__ == "__main__":
    main(sys.argv[1:])
