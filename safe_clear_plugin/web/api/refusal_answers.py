"""The models of JSON answers to requests that were not carried out."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from safe_clear_plugin.web.api.answer_base import Answer


class Unmet(Answer):
    """Something that a confirmation has to give."""

    what: str = Field(description="The field to send; `approval`; or the code of a finding that refuses.")
    limit: str | None = Field(description="The option that asks for it.")
    value: Any = Field(description="The option's value; for `acknowledge` the code of the finding.")
    set_in: str | None
    reason: str
    remedy: str


class Drift(Answer):
    """Something that differs from the preview."""

    what: Literal["task_instance", "dag_run", "dag_version"]
    run_id: str | None
    task_id: str | None = Field(
        description="Of a task instance, or of a task that a new Dag version changes."
    )
    map_index: int | None
    before: str | None
    before_state: str | None = Field(description="Of a task instance or dag run, as Airflow stores it.")
    before_try: int | None = Field(description="Of a task instance.")
    now: str | None
    now_state: str | None
    now_try: int | None
    attribute: str | None = Field(
        description="In which a new Dag version differs, of the task or of the Dag."
    )
    how: str


class Suggestion(Answer):
    """Another selection that would match something."""

    text: str = Field(description="The text of a button.")
    changes: dict[str, Any] = Field(
        description="Fields to send in place of those of the request. Leave out what is empty or null."
    )


class Refusal(BaseModel):
    """Why a request was not carried out, and what to do about it."""

    model_config = ConfigDict(extra="allow")

    error: str
    remedy: str
    errors: dict[str, list[str]] = Field(
        default_factory=dict,
        description="The problems by field; under an empty name those of no single field.",
    )
    unknown: list[str] = Field(default_factory=list, description="Names that the request does not have.")
    missing: list[Unmet] = Field(default_factory=list, description="The requirements that are not met.")
    drift: list[Drift] = Field(default_factory=list, description="The changes since the preview.")
    suggestions: list[Suggestion] = Field(
        default_factory=list, description="Other selections that match, where this one matches nothing."
    )
    code: str = Field(default="", description="The kind of the refusal, where a program acts on it.")
    error_id: str = Field(default="", description="The name of the error in the log of the api-server.")
