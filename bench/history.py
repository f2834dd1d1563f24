"""A large deployment's history: runs that Airflow itself made, loaded many times over by COPY."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

import psycopg
from uuid6 import uuid7

from bench.copying import NULL, Model, columns_of, read_models, write_lines
from bench.dags import BRANCHES, STEPS, task_id
from bench.scopes import DAGS, MANY, History, dag_id, hour, run_id

FAILED_RUNS = 0.15
RETRIED = 0.05
RUNS_AT_ONCE = 500
Lines = dict[str, list[str]]


class Loader:
    """Writes the history, from one run of each DAG that Airflow has made."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Read the runs that serve as models, and remove them."""
        self.connection = connection
        self.random = Random(5)
        self.columns = {
            table: columns_of(connection, table)
            for table in ("dag_run", "task_instance", "task_instance_history")
        }
        self.runs = self._read("dag_run")
        self.task_instances = self._read("task_instance")
        self.next_run_pk = 1
        # Every foreign key is met, and checking each row would take longer than loading it.
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM task_instance")
        connection.execute("DELETE FROM dag_run")

    def load(self, history: History) -> None:
        """Write it all, hour by hour as it came to be, so that the DAGs' rows lie mixed in the tables."""
        lines = self._empty()
        for number in range(history.runs):
            for dag in range(DAGS):
                if dag == 0 or number < history.other_runs:
                    self._add_run(dag_id(dag), number, lines)
            if number % (RUNS_AT_ONCE // DAGS) == 0:
                self._write(lines)
                lines = self._empty()
        self._add_mapped(history.mapped, lines)
        self._write(lines)
        self.connection.execute(
            "SELECT setval(pg_get_serial_sequence('dag_run', 'id'), %s)", [self.next_run_pk]
        )

    def _read(self, table: str) -> dict[str, list[Model]]:
        models: dict[str, list[Model]] = {}
        for model in read_models(self.connection, table, "dag_id LIKE 'bench%'"):
            models.setdefault(model.fields["dag_id"], []).append(model)
        return models

    def _empty(self) -> Lines:
        return {table: [] for table in self.columns}

    def _write(self, lines: Lines) -> None:
        for table, rows in lines.items():
            write_lines(self.connection, table, self.columns[table], rows)

    def _add_run(self, dag: str, number: int, lines: Lines) -> None:
        failed = self.random.random() < FAILED_RUNS
        states = _states(self.random) if failed else {}
        lines["dag_run"].append(self._run_line(dag, number, "failed" if failed else "success"))
        start = hour(number + 1)
        for model in self.task_instances[dag]:
            state = states.get(model.fields["task_id"], "success")
            self._add_task_instance(model, state, number, start, lines)

    def _add_mapped(self, count: int, lines: Lines) -> None:
        """Write the one run of the mapped DAG; ``count`` includes its tasks that are not mapped."""
        lines["dag_run"].append(self._run_line(MANY, 0, "success"))
        models = self.task_instances[MANY]
        mapped = [model for model in models if model.fields["map_index"] != "-1"]
        single = [model for model in models if model.fields["map_index"] == "-1"]
        for model in single:
            self._add_task_instance(model, "success", 0, hour(1), lines)
        for index in range(count - len(single)):
            self._add_task_instance(mapped[0], "success", 0, hour(1), lines, map_index=str(index))

    def _run_line(self, dag: str, number: int, state: str) -> str:
        date, after = hour(number), hour(number + 1)
        pk, self.next_run_pk = self.next_run_pk, self.next_run_pk + 1
        return self.runs[dag][0].line(
            {
                "id": str(pk),
                "run_id": run_id(number),
                "state": state,
                "logical_date": _moment(date),
                "data_interval_start": _moment(date),
                "data_interval_end": _moment(after),
                "run_after": _moment(after),
                "queued_at": _moment(after),
                "start_date": _moment(after + timedelta(seconds=1)),
                "end_date": _moment(after + timedelta(minutes=12)),
                "created_at": _moment(after),
                "updated_at": _moment(after + timedelta(minutes=12)),
            }
        )

    def _add_task_instance(
        self, model: Model, state: str, number: int, after: datetime, lines: Lines, **more: str
    ) -> None:
        started = state != "upstream_failed"
        tries = 0 if not started else 3 if state == "failed" else 1 + (self.random.random() < RETRIED)
        start = after + timedelta(seconds=self.random.uniform(5, 300))
        seconds = self.random.expovariate(1 / 40)
        values = {
            "id": str(uuid7()),
            "run_id": run_id(number),
            "state": state,
            "try_number": str(tries),
            "start_date": _moment(start) if started else NULL,
            "end_date": _moment(start + timedelta(seconds=seconds)),
            "duration": f"{seconds:.6f}" if started else NULL,
            "scheduled_dttm": _moment(start - timedelta(seconds=3)) if started else NULL,
            "queued_dttm": _moment(start - timedelta(seconds=2)) if started else NULL,
            "last_heartbeat_at": _moment(start + timedelta(seconds=seconds)) if started else NULL,
            "updated_at": _moment(start + timedelta(seconds=seconds)),
            "pid": str(self.random.randrange(100, 60_000)) if started else NULL,
            "hostname": f"worker-{self.random.randrange(40)}.example.com" if started else "",
            **more,
        }
        lines["task_instance"].append(model.line(values))
        old = model.moved_to("task_instance_history", self.columns["task_instance_history"])
        for earlier in range(1, tries):
            try_of_old = {"try_number": str(earlier), "state": "failed", "task_instance_id": str(uuid7())}
            kept = {name: value for name, value in values.items() if name in old.fields}
            lines["task_instance_history"].append(old.line({**kept, **try_of_old}))


def _states(random: Random) -> dict[str, str]:
    """Return the states of a branch that failed at one of its steps."""
    branch, place = random.randrange(BRANCHES), random.randrange(len(STEPS))
    return dict(_failing(branch, place))


def _failing(branch: int, place: int) -> Iterator[tuple[str, str]]:
    yield task_id(STEPS[place], branch), "failed"
    for step in STEPS[place + 1 :]:
        yield task_id(step, branch), "upstream_failed"


def _moment(moment: datetime) -> str:
    return moment.isoformat(sep=" ")
