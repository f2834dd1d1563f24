"""The models of JSON answers; ``serializers`` build the answers, and tests compare both."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.outcomes import RunOutcome
from safe_clear_plugin.core.plan import ShownStatus
from safe_clear_plugin.core.webhook import DeliveryProblem, Event
from safe_clear_plugin.web.api.answer_base import Answer
from safe_clear_plugin.web.api.refusal_answers import Unmet
from safe_clear_plugin.web.api.wave_answers import WavesAnswer


class Dag(Answer):
    """A DAG that the caller may clear."""

    dag_id: str
    is_paused: bool


class Dags(Answer):
    """The first DAGs that were found; ``more`` says whether there are others."""

    items: list[Dag]
    more: bool


class Confirmable(Answer):
    """A plan or a change set: its progress, and who made, approved and confirmed it."""

    id: str
    status: ShownStatus
    interrupted: bool = Field(description="It is in progress, but no driver has worked on it for a minute.")
    task_instances: int
    dag_runs: int
    cleared: int
    put_back: int
    stayed: int
    created_by: str
    created_at: str
    expires_at: str
    reason: str
    applied_by: str | None
    applied_at: str | None
    finished_at: str | None
    problem: dict[str, Any] | None = Field(description="Why it stopped, or why it is out of date.")
    approval_asked_at: str | None
    approved_by: str | None
    declined_by: str | None
    declined_at: str | None
    decline_reason: str


class PlanItem(Confirmable):
    """A plan as it stands in the list."""

    dag_id: str
    sentence: str
    acknowledged: list[str]
    change_set: str | None = Field(description="The change set that it is confirmed with; null without one.")


class UndeliveredMessage(Answer):
    """A message that the webhook did not get."""

    number: int
    event: Event
    at: str
    attempts: int
    problem: DeliveryProblem
    http_status: int | None
    text: str


class Unsupported(Answer):
    """Why nothing is cleared on this Airflow."""

    code: str
    error: str
    remedy: str


class Plans(Answer):
    """A page of the plans."""

    total: int
    items: list[PlanItem]
    undelivered: list[str] = Field(description="Ids of those with messages that the webhook did not get.")
    unsupported: Unsupported | None


class Counts(Answer):
    """Counts of the task instances and dag runs that the plan clears."""

    task_instances: int
    dag_runs: int
    by_state: dict[str, int]


class State(Answer):
    """The state of a dag run."""

    state: str | None


class DagRun(Answer):
    """A dag run of a plan."""

    run_id: str
    logical_date: str | None
    partition_key: str | None
    partition_date: str | None
    before: State
    after: State
    task_instances: int
    applied_at: str | None
    batch: int | None
    undone_at: str | None
    undo_batch: int | None
    put_back: bool | None
    outcome: RunOutcome | None = Field(description="The foreseen outcome; null where nothing is cleared.")
    outcome_why: str = Field(description="Why, where it does not simply run.")


class Batch(Answer):
    """A transaction that cleared or put back."""

    number: int
    kind: Literal["clear", "undo"]
    at: str
    by: str
    reason: str
    dag_runs: int
    task_instances: int
    stayed: int


class SelectionAnswer(Answer):
    """The requested selection; empty lists and null do not narrow."""

    dag_id: str
    task_regex: str
    task_ids: list[str]
    run_id: list[str]
    partition_key: list[str]
    date_field: str
    date_from: str | None
    date_to: str | None
    timezone: str
    run_type: list[str]
    run_state: list[str]
    state: list[str]
    failed_from: str | None
    failed_to: str | None
    include_setups: bool
    map_index: int | None
    index_run_id: str
    include_upstream: bool
    include_downstream: bool
    include_past: bool
    include_future: bool
    exclude_task_id: list[str]
    exclude_run_id: list[str]
    exclude_task_instance: list[tuple[str, int, str]]
    running: str
    run_on_latest_version: bool | None
    reset_dag_runs: bool


class Plan(PlanItem):
    """A plan with a page of its dag runs; ``counts`` says how many there are in all."""

    selection: SelectionAnswer
    fingerprint: str
    counts: Counts
    dag_runs: list[DagRun]  # type: ignore[assignment]
    batches: list[Batch]
    findings: list[Finding]
    findings_not_checked: list[str] = Field(
        description="Codes of the checks that did not finish in time: what they would have found is unknown."
    )
    outcomes: dict[str, int] = Field(description="Number of task instances by outcome.")
    estimate: Estimate | None
    waves: WavesAnswer | None = Field(description="null: all at once, or not confirmed yet.")
    undelivered: list[UndeliveredMessage] = Field(
        description="The messages that were not delivered; `POST /plans/<id>/webhook` sends them again."
    )
    unsupported: Unsupported | None
    required: list[Unmet] = Field(
        description="The requirements that an empty confirmation by the caller would not meet."
    )
