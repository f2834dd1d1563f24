"""Airflow's own ways: the REST API that its UI calls, the serialized DAG's method, one call for all."""

from __future__ import annotations

import json
import re
from typing import Any

from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import clear_task_instances
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState

from bench.scopes import Scope
from bench.stage import Action, Stage

TOTAL = re.compile(rb'"total_entries":(\d+)')


def rest_preview(stage: Stage, scope: Scope) -> Action:
    """What Airflow's UI asks for before it offers to clear."""
    return _rest(stage, scope, dry_run=True)


def rest_apply(stage: Stage, scope: Scope) -> Action:
    """What Airflow's UI asks for to clear."""
    return _rest(stage, scope, dry_run=False)


def _rest(stage: Stage, scope: Scope, *, dry_run: bool) -> Action:
    body: dict[str, Any] = {"dry_run": dry_run, "only_failed": False, "reset_dag_runs": True}
    if scope.run_id:
        body["dag_run_id"] = scope.run_id
    else:
        body.update(start_date=scope.date_from, end_date=scope.date_to)
    address = f"/api/v2/dags/{scope.dag_id}/clearTaskInstances"
    ends: list[bytes] = []

    def run() -> int:
        answer = stage.program.send("POST", address, json.dumps(body).encode())
        ends.append(answer.body)
        return answer.size

    def count() -> int:
        found = TOTAL.findall(ends[-1])
        return int(found[-1])

    return Action(run, count)


def dag_clear_preview(_: Stage, scope: Scope) -> Action:
    """The dry run of the serialized DAG, which is what the REST API builds on."""
    dag, found = _dag(scope), [0]

    def run() -> int:
        with create_session(scoped=False) as session:
            found[0] = len(_task_instances(dag, scope, session))
        return 0

    return Action(run, lambda: found[0])


def one_call_apply(_: Stage, scope: Scope) -> Action:
    """All task instances handed to Airflow's function at once, in one transaction."""
    dag, found = _dag(scope), [0]

    def run() -> int:
        with create_session(scoped=False) as session:
            task_instances = _task_instances(dag, scope, session)
            clear_task_instances(task_instances, session, DagRunState.QUEUED)
            found[0] = len(task_instances)
        return 0

    return Action(run, lambda: found[0])


def _dag(scope: Scope) -> Any:
    with create_session(scoped=False) as session:
        return SerializedDagModel.get_dag(scope.dag_id, session=session)


def _task_instances(dag: Any, scope: Scope, session: Any) -> list[Any]:
    dates = scope.dates()
    wanted = {"start_date": dates[0], "end_date": dates[1]} if dates else {"run_id": scope.run_id}
    return list(dag.clear(dry_run=True, session=session, **wanted))
