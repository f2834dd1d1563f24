"""The models of JSON answers about failures."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from safe_clear_plugin.web.api.answer_base import Answer


class FailedTask(Answer):
    """A task instance that failed."""

    task_id: str
    map_index: int
    rendered_map_index: str | None
    run_id: str
    state: str
    end_date: str


class Preview(Answer):
    """The request that plans to clear what the item counts, what is downstream, setups and teardowns."""

    method: Literal["POST"]
    url: str
    body: dict[str, str | bool]


class FailedDag(Answer):
    """The failures of a DAG in the requested time."""

    dag_id: str
    is_paused: bool
    is_stale: bool
    owners: list[str]
    tags: list[str]
    task_instances: int
    by_state: dict[str, int]
    dag_runs: int = Field(description="Dag runs with a task instance that failed in this time.")
    failed_dag_runs: int = Field(
        description="Dag runs that failed themselves in this time, regardless of their task instances."
    )
    first_failed_task: FailedTask | None
    failed_since: str = Field(description="The first end of a failed task instance or, without, of a run.")
    last_failed: str
    this_week: int = Field(
        description="Dag runs in which something failed in the seven days before the end of the time."
    )
    by_day: list[int] = Field(description="The same by day, the last day last.")
    preview: Preview | None = Field(description="null where there is nothing that the caller may clear.")


class FailedTotals(Answer):
    """Totals of all pages."""

    dags: int
    dag_runs: int
    task_instances: int


class FailedDags(Answer):
    """A page of the DAGs in which something failed, the latest failure first."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: str = Field(alias="from")
    end: str = Field(alias="to")
    total: int
    totals: FailedTotals
    complete: bool = Field(description="Whether there was time to ask for the rights on every DAG.")
    items: list[FailedDag]
