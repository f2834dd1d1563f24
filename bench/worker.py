"""Measures, each time in a process of its own: `python -m bench.worker`, with a job a line on standard input.

Building Airflow's app takes many times longer than most of what is measured. So it is built once, and each
measurement runs in a fork of this process, which has the app, no connection, and nothing else done yet.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy.engine import Engine

from bench import steps_airflow, steps_limit, steps_ours
from bench.meter import measured
from bench.scopes import Scope, warm_scope
from bench.stage import Action, Stage

STEPS: dict[tuple[str, str], Callable[[Stage, Scope], Action]] = {
    ("preview", "ours"): steps_ours.preview,
    ("preview", "airflow_rest"): steps_airflow.rest_preview,
    ("preview", "airflow_dag_clear"): steps_airflow.dag_clear_preview,
    ("preview", "limit"): steps_limit.preview,
    ("preview", "limit_aggregate"): steps_limit.aggregate_preview,
    ("apply", "ours"): steps_ours.apply,
    ("apply", "ours_http"): steps_ours.http_apply,
    ("apply", "airflow_rest"): steps_airflow.rest_apply,
    ("apply", "airflow_one_call"): steps_airflow.one_call_apply,
    ("apply", "limit"): steps_limit.apply,
    ("undo", "ours"): steps_ours.undo,
    ("undo", "limit"): steps_limit.undo,
    ("drift", "ours"): steps_ours.compare,
    ("history", "ours"): steps_ours.history,
}


def measure(stage: Stage, job: dict[str, Any]) -> dict[str, Any]:
    """Warm up on another DAG, so that it is not a server's first request, then measure."""
    op, scope = job["op"], Scope(**job["scope"])
    step = STEPS[op, job["who"]]
    step(stage, scope if op == "history" else warm_scope()).run()
    action = step(stage, scope)
    with measured(job["delay_ms"]) as found:
        size = action.run()
    if (count := action.count()) != scope.task_instances:
        raise RuntimeError(f"{op} of {job['who']} was about {count:,} instead of {scope.task_instances:,}")
    return {**asdict(found), "bytes": size}


def in_a_fork(stage: Stage, job: dict[str, Any]) -> dict[str, Any]:
    """Measure in a fork; one that takes longer than the job may is ended."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, stage, job))
    process.start()
    there.close()
    try:
        if not here.poll(job["timeout"]):
            return {"timeout": True}
        found: dict[str, Any] = here.recv()
        return found
    except EOFError:
        process.join()
        return {"error": f"the process ended with {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _answer(there: Connection, stage: Stage, job: dict[str, Any]) -> None:
    try:
        there.send(measure(stage, job))
    except Exception:  # noqa: BLE001 - it is passed on as it is
        there.send({"error": traceback.format_exc()})


def disconnect() -> None:
    """Close every connection, which no fork may share, of any engine."""
    for thing in gc.get_objects():
        if isinstance(thing, Engine):
            thing.dispose()


def main() -> None:
    """Build the app, then answer each line with a line."""
    # What others print goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    stage = Stage()
    disconnect()
    print(json.dumps("ready"), file=answers)
    for line in sys.stdin:
        print(json.dumps(in_a_fork(stage, json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
