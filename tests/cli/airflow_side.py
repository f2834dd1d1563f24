"""What the tests do and read through Airflow's own API, beside Safe Clear."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.server import AirflowServer


def run_id_of(day: str) -> str:
    return f"scheduled__{day}T00:00:00+00:00"


def set_state(server: AirflowServer, day: str, states: Mapping[str, str], dag_id: str = "cli_etl") -> None:
    """Give task instances of a day a state, as they get it when they run again."""
    for task_id, state in states.items():
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id_of(day)}/taskInstances/{task_id}"
        server.api("PATCH", path, json={"new_state": state}).raise_for_status()


def end_run(server: AirflowServer, day: str) -> None:
    """End the dag run of a day well, as the scheduler does once its task instances are done."""
    path = f"/api/v2/dags/cli_etl/dagRuns/{run_id_of(day)}"
    server.api("PATCH", path, json={"state": "success"}).raise_for_status()


def states_of(server: AirflowServer, day: str, dag_id: str = "cli_etl") -> dict[str, str | None]:
    """Return the states of a day's task instances."""
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id_of(day)}/taskInstances"
    found = server.api("GET", path).raise_for_status().json()["task_instances"]
    return {one["task_id"]: one["state"] for one in found}


FAILED = {"extract": "success", "load": "failed", "report": "upstream_failed"}
"""What a day is before anything is cleared."""
CLEARED = {"extract": None, "load": None, "report": None}
SUCCEEDED = {"extract": "success", "load": "success", "report": "success"}
