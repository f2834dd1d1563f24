"""What the form is to be filled in with for the task instance that a link names."""

from __future__ import annotations

from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.airflow_api.selection.select_task_instances import states_of
from safe_clear_plugin.core.states import NO_STATE

FAILED_STATES = frozenset(("failed", "upstream_failed"))


def has_failed(dag_id: str, run_id: str, task_id: str, map_index: int | None) -> bool:
    """Whether it failed, or any of its map indexes if none is named."""
    with new_session() as session:
        states = states_of(dag_id, run_id, task_id, map_index, session)
    return not FAILED_STATES.isdisjoint(state or NO_STATE for state in states)
