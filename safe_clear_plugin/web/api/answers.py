"""The models of JSON answers. The payloads are built elsewhere; tests compare them with these models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.finding import Finding, Level
from safe_clear_plugin.core.plan import PlanStatus, ShownStatus
from safe_clear_plugin.core.undo import Verdict


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
    before: State
    after: State
    task_instances: int
    applied_at: str | None
    batch: int | None
    undone_at: str | None
    undo_batch: int | None
    put_back: bool | None


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
    date_field: str
    date_from: str | None
    date_to: str | None
    timezone: str
    run_type: list[str]
    run_state: list[str]
    state: list[str]
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
    estimate: Estimate | None
    unsupported: Unsupported | None
    required: list[Unmet] = Field(
        description="What a confirmation by the caller would lack that says nothing."
    )


class Before(Answer):
    """A task instance before the clear."""

    id: str
    state: str | None
    try_number: int | None


class After(Answer):
    """A task instance right after the clear."""

    state: str | None
    max_tries: int | None


class TaskInstance(Answer):
    """A task instance of a plan."""

    run_id: str
    task_id: str
    map_index: int
    effect: Effect
    why: str
    before: Before | None = Field(description="null for one that the clear makes Airflow create.")
    after: After


class TaskInstances(Answer):
    """A page of a plan's task instances."""

    total: int
    items: list[TaskInstance]


class Related(Answer):
    """A task instance behind a finding, as it is now."""

    run_id: str
    task_id: str
    map_index: int
    state: str | None
    try_number: int | None
    foreseen_state: str | None
    because_of: str | None


class FindingRows(Answer):
    """A finding with a page of the task instances behind it."""

    code: str
    level: Level
    title: str
    detail: str
    remedy: str
    count: int
    total: int
    items: list[Related]


class Clear(Answer):
    """How far a clear has come."""

    id: str
    status: PlanStatus
    done: int
    total: int
    dag_runs_done: int
    dag_runs_total: int
    cleared_at: str | None
    retry_after: float = Field(default=0, description="Seconds after which to ask for the next batch.")


class Undo(Answer):
    """How far an undo has come: ``done`` are put back or stay, of the ``total`` asked for."""

    id: str
    status: PlanStatus
    under_way: bool
    done: int
    total: int
    dag_runs_done: int
    dag_runs_total: int
    put_back: int
    stayed: int
    retry_after: float = Field(default=0, description="Seconds after which to ask for the next batch.")


class Progress(Clear):
    """How far clear and undo are and, unless one is under way, how the task instances re-run."""

    interrupted: bool
    undo: Undo
    by_state: list[tuple[str | None, int]] | None
    finished: bool | None
    checked_at: str


class UndoCount(Answer):
    """How many task instances have one verdict, one state before and one now."""

    verdict: Verdict
    before: str | None
    now: str | None
    count: int


class UndoRun(Answer):
    """A dag run of an undo."""

    run_id: str
    logical_date: str | None
    put_back: int
    stay: int
    state_now: str | None
    state_back: str | None
    why_kept: str


class Stay(Answer):
    """A task instance that an undo leaves as it is."""

    run_id: str
    task_id: str
    map_index: int
    state_now: str | None
    why: str


class UndoProblem(Answer):
    """Why there is nothing to undo."""

    reason: str
    remedy: str


class UndoPreview(Answer):
    """What an undo would do; ``dag_runs`` and ``stays`` are the first of them."""

    cleared_runs: int
    task_instances: int
    put_back: int
    stay: int
    counts: list[UndoCount]
    dag_runs_total: int
    whole_dag_runs: int
    dag_runs: list[UndoRun]
    stays: list[Stay]
    problem: UndoProblem | None
