"""The executors that Airflow's configuration names."""

from __future__ import annotations

from collections.abc import Collection

from airflow.exceptions import AirflowConfigException
from airflow.executors.executor_loader import ExecutorLoader


def unknown_executors(names: Collection[str], team: str | None) -> set[str]:
    """Return those of the executors, asked for by tasks, that a scheduler does not have for a team's DAGs.

    Mirrors ``_try_to_load_executor``; without an executor the task instance stays in scheduled.
    """
    if not names:
        return set()
    try:
        configured = ExecutorLoader.get_executor_names(validate_teams=False)
    except AirflowConfigException:
        # This process reads another configuration than the scheduler, which could not even start with it.
        return set()
    known = {
        name
        for one in configured
        if one.team_name in (None, team)
        for name in (one.alias, one.module_path, one.module_path.split(".")[-1])
    }
    return {name for name in names if name not in known}
