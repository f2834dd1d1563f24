"""The models of JSON answers about waves."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from safe_clear_plugin.core.waves import RunOrder, Then, WaveReason, WaveState


class WaveRuns(BaseModel):
    """The plan's dag runs by progress; together they are all."""

    model_config = ConfigDict(extra="forbid")

    done: int
    running_again: int
    failed: int = Field(description="Also runs with other task instances that are unfinished.")
    waiting: int = Field(
        description="Cleared runs whose other task instances wait for a person, or were foreseen never to "
        "start."
    )
    untouched: int
    undone: int
    skipped: int = Field(description="Of the failed ones, those that somebody went on without.")
    unfinished: int = Field(description="Those that `at_most_runs` counts.")


class WavesAnswer(BaseModel):
    """The waves of a clear, and their progress."""

    model_config = ConfigDict(extra="forbid")

    first_runs: int | None
    then: Then | None
    at_most_runs: int | None
    stop_after_failed: int | None
    order: RunOrder
    not_before: str | None
    state: WaveState | None = Field(description="null while the plan is not being cleared.")
    reason: WaveReason | None = Field(description="Why it waits for a person.")
    runs: WaveRuns | None = Field(description="null where Airflow's tables are not known.")
