"""A person who answers what tasks ask, and what tasks tell of the jobs that they found."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from airflow import settings
from airflow.models.xcom import XComModel
from sqlalchemy import select

from tests.outcomes.facts import RowKey
from tests.outcomes.play import Played, snapshot
from tests.outcomes.shapes import Example

if TYPE_CHECKING:
    from tests.support.server import AirflowServer

WAITING = "awaiting_input"


def answer_all(played: Sequence[Played], server: AirflowServer) -> int:
    """Answer each task instance that waits for a person, note that it has asked, and return how many did."""
    now = snapshot([one.example.dag_id for one in played])
    number = 0
    for one in played:
        rows, _ = now[one.example.dag_id]
        waiting = [key for key, row in rows.items() if row.state == WAITING]
        for key in waiting:
            _answer(one.example, key, server)
        one.asked.update(waiting)
        number += len(waiting)
    return number


def _answer(example: Example, key: RowKey, server: AirflowServer) -> None:
    run_id, task_id, map_index = key
    place = f"dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/hitlDetails"
    address = f"/api/v2/dags/{example.dag_id}/{place}"
    options = server.api("GET", address).raise_for_status().json()["options"]
    answer = server.api(
        "PATCH",
        address,
        json={"chosen_options": [_choice(example, task_id, options)], "params_input": {}},
    )
    assert answer.status_code == 200, answer.text


def _choice(example: Example, task_id: str, options: Collection[str]) -> str:
    """Return what the person says: the DAG on paper has it.

    The task may have asked as it was before the DAG changed, so what it offers says what kind it was.
    """
    if "yes" in options:
        return "yes"
    shapes = (example.after, example.before)
    tasks = [shape.by_id[task_id] for shape in shapes if task_id in shape.by_id]
    approval = next(task for task in tasks if task.kind == "approval")
    return "Approve" if approval.follow else "Reject"


def resumed(dag_ids: Collection[str]) -> dict[str, set[RowKey]]:
    """Return, by DAG, the task instances whose result says that they found the job of an earlier try."""
    found: dict[str, set[RowKey]] = {dag_id: set() for dag_id in dag_ids}
    x = XComModel
    query = select(x.dag_id, x.run_id, x.task_id, x.map_index, x.value).where(x.key == "return_value")
    with settings.NonScopedSession() as session:
        for row in session.execute(query):
            if row.dag_id in found and _found_a_job(row.value):
                found[row.dag_id].add((row.run_id, row.task_id, row.map_index))
    return found


def _found_a_job(value: object) -> bool:
    value = json.loads(value) if isinstance(value, str) else value
    return isinstance(value, dict) and bool(value.get("found"))
