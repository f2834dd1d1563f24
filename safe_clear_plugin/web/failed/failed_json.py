"""Failures by DAG as JSON, for programs."""

from __future__ import annotations

from typing import Any

from safe_clear_plugin.core.failed_dags import FailedDag, FailedDags, FailedFilter, FailedTask
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.moments import iso


def failed_json(wanted: FailedFilter, found: FailedDags) -> dict[str, Any]:
    """Return a page of the DAGs with the totals of all pages."""
    return {
        "from": iso(wanted.since),
        "to": iso(wanted.until),
        "total": found.total,
        "totals": {
            "dags": found.total,
            "dag_runs": found.dag_runs,
            "task_instances": found.task_instances,
        },
        "complete": found.complete,
        "items": [_dag_json(dag, wanted) for dag in found.dags],
    }


def preview_fields(dag_id: str, wanted: FailedFilter) -> dict[str, str | bool]:
    """Return the fields of a selection for the task instances of a row and their relatives."""
    selection = wanted.selection(dag_id)
    return {
        "dag_id": dag_id,
        "failed_from": iso(wanted.since),
        "failed_to": iso(wanted.until),
        "include_downstream": selection.include_downstream,
        "include_setups": selection.include_setups,
    }


def _dag_json(dag: FailedDag, wanted: FailedFilter) -> dict[str, Any]:
    preview = None
    if dag.can_preview:
        body = preview_fields(dag.dag_id, wanted)
        preview = {"method": "POST", "url": templating.url("create_plan"), "body": body}
    return {
        "dag_id": dag.dag_id,
        "is_paused": dag.is_paused,
        "is_stale": dag.is_stale,
        "owners": list(dag.owners),
        "tags": list(dag.tags),
        "task_instances": dag.task_instances,
        "by_state": {"failed": dag.failed, "upstream_failed": dag.upstream_failed},
        "dag_runs": dag.dag_runs,
        "failed_dag_runs": dag.failed_dag_runs,
        "first_failed_task": _task_json(dag.first) if dag.first else None,
        "failed_since": iso(dag.since),
        "last_failed": iso(dag.last),
        "this_week": dag.this_week,
        "by_day": list(dag.by_day),
        "preview": preview,
    }


def _task_json(task: FailedTask) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "map_index": task.map_index,
        "rendered_map_index": task.label,
        "run_id": task.run_id,
        "state": task.state,
        "end_date": iso(task.ended_at),
    }
