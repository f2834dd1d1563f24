"""Holds dag runs, so that a driver clears or undoes them one after the other, when a test lets them pass."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Engine, text

HOLD = text("SELECT 1 FROM dag_run WHERE dag_id = :dag_id AND run_id = :run_id FOR UPDATE")


class Gate:
    """Holds the rows of dag runs as a scheduler does, each in a transaction of its own."""

    def __init__(self, engine: Engine, dag_id: str, run_ids: Iterable[str]) -> None:
        """Hold these runs, given in the order in which they come."""
        self.held: list[Connection] = []
        for run_id in run_ids:
            connection = engine.connect()
            connection.execute(HOLD, {"dag_id": dag_id, "run_id": run_id})
            self.held.append(connection)

    def let_pass(self, runs: int = 1) -> None:
        """Let the next ones be cleared."""
        for _ in range(runs):
            self.held.pop(0).close()

    def open_for_all(self) -> None:
        """Hold none any more."""
        self.let_pass(len(self.held))
