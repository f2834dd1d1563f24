"""The models of JSON answers. The payloads are built elsewhere; tests compare them with these models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.outcomes import RunOutcome
from safe_clear_plugin.core.plan import ShownStatus


class Answer(BaseModel):
    """An object that is answered."""

    model_config = ConfigDict(extra="forbid")


class Unmet(Answer):
    """Something that a confirmation has to give."""

    what: str = Field(description="The field to send; `approval`; or the code of a finding that refuses.")
    limit: str | None = Field(description="The option that asks for it.")
    value: Any = Field(description="The option's value; for `acknowledge` the code of the finding.")
    set_in: str | None
    reason: str
    remedy: str


class Refusal(BaseModel):
    """Why a request was not carried out, and what to do about it."""

    model_config = ConfigDict(extra="allow")

    error: str
    remedy: str
    errors: dict[str, list[str]] = Field(
        default_factory=dict,
        description="What is wrong, by field; under an empty name what no field is to blame for.",
    )
    unknown: list[str] = Field(default_factory=list, description="Names that the request does not have.")
    missing: list[Unmet] = Field(default_factory=list, description="What the confirmation lacks.")
    drift: list[dict[str, Any]] = Field(default_factory=list, description="What moved since the preview.")
    code: str = Field(default="", description="The kind of an error of the database or of Safe Clear.")
    error_id: str = Field(default="", description="The name of the error in the log of the api-server.")


class Dag(Answer):
    """A DAG that the caller may clear."""

    dag_id: str
    is_paused: bool


class Dags(Answer):
    """The first DAGs that were found; ``more`` says whether there are others."""

    items: list[Dag]
    more: bool


class PlanItem(Answer):
    """A plan as it stands in the list."""

    id: str
    status: ShownStatus
    interrupted: bool
    dag_id: str
    sentence: str
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
    problem: dict[str, Any] | None
    acknowledged: list[str]
    approval_asked_at: str | None
    approved_by: str | None
    declined_by: str | None
    declined_at: str | None
    decline_reason: str


class Unsupported(Answer):
    """Why nothing is cleared on this Airflow."""

    code: str
    error: str
    remedy: str


class Plans(Answer):
    """A page of the plans."""

    total: int
    items: list[PlanItem]
    unsupported: Unsupported | None


class Counts(Answer):
    """How many there are of what the plan clears."""

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
    outcome: RunOutcome | None = Field(
        description="What the scheduler will make of it; null where nothing is cleared."
    )
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
    """What was asked for; empty lists and null do not narrow."""

    dag_id: str
    task_regex: str
    run_id: list[str]
    partition_key: list[str]
    date_field: str
    date_from: str | None
    date_to: str | None
    timezone: str
    run_type: list[str]
    run_state: list[str]
    state: list[str]
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
    outcomes: dict[str, int] = Field(description="How many task instances come to each outcome.")
    estimate: Estimate | None
    unsupported: Unsupported | None
    required: list[Unmet] = Field(
        description="What a confirmation by the caller would lack that says nothing."
    )
