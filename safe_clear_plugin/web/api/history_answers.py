"""The models of JSON answers about the history."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from safe_clear_plugin.web.api.answer_base import Answer
from safe_clear_plugin.web.api.answers import PlanItem


class ClearedRun(Answer):
    """A dag run that a clear names."""

    dag_id: str
    run_id: str


class AirflowClear(Answer):
    """A clear with Airflow's own means, from its audit log, which has the request but not the result."""

    event: str
    dag_ids: list[str]
    dag_runs: list[ClearedRun] = Field(
        description="The runs that the clear names; empty if it names dates, or all runs."
    )
    task_ids: list[str] = Field(description="The tasks that the clear names; empty stands for all tasks.")
    by: str
    options: dict[str, Any]


class HistoryItem(Answer):
    """An entry of the history: a plan, or a clear with Airflow's own means. The other one is null."""

    at: str
    plan: PlanItem | None
    airflow: AirflowClear | None


class History(Answer):
    """A page of the history."""

    total: int
    complete: bool = Field(
        description="Whether there was time to check your permissions on every DAG that has a history."
    )
    audit_log: bool = Field(
        description="Whether you can read Airflow's audit log, which has its own clears, for all these DAGs."
    )
    items: list[HistoryItem]
