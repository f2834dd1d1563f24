"""The models of JSON answers about task instances."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.finding import Level
from safe_clear_plugin.core.outcomes import Outcome
from safe_clear_plugin.web.api.answer_base import Answer


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
    rendered_map_index: str | None = Field(
        description="The label that `map_index_template` makes of the map index; null without a template."
    )
    effect: Effect
    by: Literal["clear", "scheduler"] = Field(
        description="Whether the clear itself does it, or the scheduler because of the clear."
    )
    why: str
    outcome: Outcome | None = Field(description="The foreseen outcome; null for one that is left out.")
    outcome_why: str = Field(description="Why, where it does not simply run.")
    before: Before | None = Field(description="null for one that the clear makes Airflow create.")
    after: After


class TaskInstances(Answer):
    """A page of a plan's task instances."""

    total: int
    items: list[TaskInstance]


class Related(Answer):
    """A task instance behind a finding, as it is now, or a dag run."""

    run_id: str
    task_id: str | None = Field(description="null for a dag run, listed if the Dag itself has callbacks.")
    map_index: int | None
    rendered_map_index: str | None = Field(
        description="The label that `map_index_template` makes of the map index; null without a template."
    )
    state: str | None
    try_number: int | None
    foreseen_state: str | None
    because_of: str | None = Field(description="The task that causes it; null if no other task does.")
    effect: Effect | None = Field(
        description="The change by the clear, or by the scheduler because of the clear; null outside the "
        "plan."
    )
    details: list[str] = Field(
        description="Details of the task: callbacks, limits, assets, or the triggered Dag if you can read "
        "that Dag."
    )


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
