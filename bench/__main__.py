"""`make bench`: measure, print tables, write JSON."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from rich.console import Console

from bench import breathing, idle_driver, machine, other_dags, report, startup
from bench.databases import TEMPLATE, BenchServer
from bench.names import BESIDE
from bench.options import DELAYED_SIZE, Options, parse
from bench.running import Row, Runner, jobs
from bench.scopes import History, history_for, history_scope, mapped_scope, scope_of

SIZED = ("preview", "apply", "undo", "drift")
Section = Callable[[Runner, History], dict[str, Any]]


def sizes(runner: Runner, history: History) -> dict[str, Any]:
    """Every operation at every size, and the page of plans."""
    rows: list[Row] = []
    for size in runner.options.sizes:
        wanted = list(jobs(SIZED, scope_of(size, history), runner.options))
        rows += runner.rows(wanted, runner.options.runs_of(size), rows)
    pages = list(jobs(("history",), history_scope(), runner.options))
    return _told_apart("rows", rows + runner.rows(pages, runner.options.runs_of(0)))


def delayed(runner: Runner, history: History) -> dict[str, Any]:
    """The same with the database across a network."""
    size = min(DELAYED_SIZE, max(runner.options.sizes))
    delay = runner.options.delay_ms
    wanted = [
        *jobs(SIZED, scope_of(size, history), runner.options, delay_ms=delay),
        *jobs(("history",), history_scope(), runner.options, delay_ms=delay),
    ]
    rows = runner.rows(wanted, runner.options.runs or 1)
    return {**_told_apart("rows_delayed", rows), "delay_ms": delay}


def mapped(runner: Runner, history: History) -> dict[str, Any]:
    """One dag run with many mapped task instances."""
    wanted = list(jobs(SIZED, mapped_scope(history), runner.options))
    return _told_apart("rows_mapped", runner.rows(wanted, runner.options.runs or 1))


def others(runner: Runner, history: History) -> dict[str, Any]:
    """How long others wait meanwhile."""
    size = min(breathing.SIZE, max(runner.options.sizes))
    runner.say(f"breathing {size:,}")
    return {"breathing": breathing.rows(runner.server, scope_of(size, history), runner.options.cap)}


def elsewhere(runner: Runner, history: History) -> dict[str, Any]:
    """How long other DAGs wait during the re-runs of a clear."""
    size = min(other_dags.SIZE, max(runner.options.sizes))
    runner.say(f"other DAGs, {size:,}")
    return {"other_dags": other_dags.rows(runner.server, scope_of(size, history), runner.options.cap)}


def idle(runner: Runner, _: History) -> dict[str, Any]:
    """What the driver costs while there is nothing to do."""
    runner.say("idle driver")
    return {"idle_driver": idle_driver.rows(runner.server)}


def starting(runner: Runner, _: History) -> dict[str, Any]:
    """What the plugin adds to a server that nobody clears with."""
    runner.say("start-up")
    return {"startup": startup.rows(runner.server)}


def _told_apart(name: str, rows: list[Row]) -> dict[str, list[Row]]:
    return {
        name: [row for row in rows if row["who"] not in BESIDE],
        f"{name}_beside": [row for row in rows if row["who"] in BESIDE],
    }


SECTIONS: dict[str, Section] = {
    "sizes": sizes,
    "delayed": delayed,
    "mapped": mapped,
    "breathing": others,
    "other_dags": elsewhere,
    "idle_driver": idle,
    "startup": starting,
}


def main() -> None:
    """Start PostgreSQL, load the history, measure what was asked for."""
    options = parse(sys.argv[1:])
    # A polite end leaves no server and no files behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    console = Console(width=None if sys.stdout.isatty() else 150)
    history = history_for(options.sizes, options.mapped)
    result: dict[str, Any] = {
        "machine": machine.machine(),
        "versions": machine.versions(),
        "history": {"task_instances": history.task_instances, "dag_runs": history.dag_runs},
    }
    server = BenchServer()
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        status = stack.enter_context(console.status(""))

        def say(what: str) -> None:
            status.update(what)
            if not console.is_terminal:
                console.print(f"  {what}")

        say(f"Loading {history.task_instances:,} task instances in {history.dag_runs:,} dag runs")
        server.create_database(TEMPLATE)
        server.run(TEMPLATE, "-m", "bench.prepare", json.dumps(asdict(history)))
        result["versions"]["postgresql"] = server.version()
        runner = Runner(server, options, say)
        stack.callback(runner.stop)
        for part in options.parts:
            result.update(SECTIONS[part](runner, history))
            _write(options, result)
    print("\n".join(report.lines(result)))
    console.print(f"Written to {options.output}")


def _write(options: Options, result: dict[str, Any]) -> None:
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
