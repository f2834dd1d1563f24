"""The bodies of requests about change sets."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.change_set import MAX_DAGS
from safe_clear_plugin.core.change_set_confirmation import SetConfirmation
from safe_clear_plugin.core.time_difference import MAX_SECONDS, read_time_difference
from safe_clear_plugin.core.waves import ALL_AT_ONCE, Pace
from safe_clear_plugin.services.change_sets.dag_choice import DagChoice
from safe_clear_plugin.web.api.selection_fields import SelectionFields
from safe_clear_plugin.web.api.types import (
    AsJson,
    Count,
    Id,
    Ids,
    Maybe,
    Names,
    OneALine,
    Reason,
    Request,
    StoredId,
    StoredIds,
    TaskRegex,
    Typed,
    Word,
    as_tuple,
)
from safe_clear_plugin.web.api.wave_bodies import WavesRequest

Acknowledged = Annotated[tuple[Id, Word], BeforeValidator(as_tuple, json_schema_input_type=tuple[Id, Word])]
"""A DAG id, and the code of a finding of its plan."""


class ChangeSetRequest(SelectionFields):
    """Plan the same selection in several Dags.

    One of `dag_ids`, `dag_id_regex`, `tags` and `owners` chooses the Dags. Or `failed_from` and `failed_to`
    choose them, and the other fields narrow the choice.
    """

    dag_ids: Maybe[Ids] = Field(
        None, description=f"The Dags, at most {MAX_DAGS}. A task instance must match in each Dag."
    )
    dag_id_regex: Maybe[TaskRegex] = Field(None, description="RE2, searched in the Dag id.")
    tags: Maybe[Names] = Field(None, description="Tags. A Dag needs only one of them.")
    owners: Maybe[Names] = Field(None, description="Owners. A Dag needs only one of them.")
    reason: Maybe[Reason] = Field(None, description="The reason that the confirmation starts with.")

    def choice(self) -> DagChoice:
        """Return the choice of DAGs; each name of a list counts once."""
        return DagChoice(
            dag_ids=tuple(dict.fromkeys(self.dag_ids or ())),
            dag_id_regex=self.dag_id_regex or "",
            tags=tuple(dict.fromkeys(self.tags or ())),
            owners=tuple(dict.fromkeys(self.owners or ())),
        )


SensorDelta = Annotated[
    tuple[Id, Id, Annotated[int, Field(ge=-MAX_SECONDS, le=MAX_SECONDS)]],
    BeforeValidator(as_tuple, json_schema_input_type=tuple[Id, Id, int]),
]
"""Dag id, task id and seconds."""


class WaitingDagsRequest(Request):
    """Plan the same selection again, together with the Dags whose sensors wait for it."""

    deltas: Annotated[list[SensorDelta], Field(max_length=input_limits.CODES), OneALine(), AsJson()] = Field(
        default_factory=list,
        description="Each `[dag_id, task_id, seconds]`: the `execution_delta` of a sensor, if Airflow does "
        "not store it. 0 means the same logical date.",
    )
    without: Maybe[Ids] = Field(None, description="Dags to leave out, with the Dags that wait only for them.")
    reason: Maybe[Reason] = None

    @model_validator(mode="after")
    def _says_each_once(self) -> WaitingDagsRequest:
        if len({(dag_id, task_id) for dag_id, task_id, _ in self.deltas}) < len(self.deltas):
            raise PydanticCustomError("deltas", "`deltas` names a sensor more than once. Name it once.")
        return self

    def by_sensor(self) -> dict[tuple[str, str], timedelta]:
        """Return the deltas by DAG and sensor."""
        return {(dag_id, task_id): timedelta(seconds=number) for dag_id, task_id, number in self.deltas}


SensorKey = Annotated[tuple[Id, Id], BeforeValidator(as_tuple, json_schema_input_type=tuple[Id, Id])]
"""Dag id and task id."""


class IncludeWaitingRequest(Request):
    """The same request from the page, with a field for each sensor whose time Airflow does not store."""

    sensor: Annotated[list[SensorKey], Field(max_length=input_limits.LIST_ITEMS), AsJson()] = Field(
        default_factory=list, description="The sensors, each `[dag_id, task_id]`."
    )
    after: list[Typed] = Field(
        default_factory=list,
        max_length=input_limits.LIST_ITEMS,
        description="For each sensor: how long its own run is after the awaited run, such as `1h`; empty "
        "leaves the sensor out.",
    )
    after_all: Maybe[Word] = Field(None, description="The time for all empty `after`.")
    without: Maybe[Ids] = Field(None, description="Dags to leave out, with the Dags that wait only for them.")
    reason: Maybe[Reason] = None

    @model_validator(mode="after")
    def _has_as_many(self) -> IncludeWaitingRequest:
        if len(self.sensor) != len(self.after) or len(set(self.sensor)) < len(self.sensor):
            raise PydanticCustomError("sensors", "Send one `after` for each sensor.")
        return self

    def typed(self) -> dict[tuple[str, str], str]:
        """Return the typed times, by DAG and sensor."""
        return {sensor: text.strip() for sensor, text in zip(self.sensor, self.after, strict=True)}

    def by_sensor(self) -> dict[tuple[str, str], timedelta | None]:
        """Return the times by DAG and sensor, ``None`` where one cannot be read; empty ones are not there."""
        everywhere = (self.after_all or "").strip()
        given = {sensor: text or everywhere for sensor, text in self.typed().items()}
        return {sensor: read_time_difference(text) for sensor, text in given.items() if text}


class ApplyChangeSetRequest(Request):
    """Have all plans of a change set cleared, or none."""

    fingerprint: Word = Field(description="The fingerprint of the set as it was shown.")
    reason: Maybe[Reason] = None
    confirm_task_instances: Maybe[Count] = Field(
        None, description="The typed number of task instances of the set, if the set requires it."
    )
    acknowledge: Annotated[
        list[Acknowledged], Field(max_length=input_limits.CODES * MAX_DAGS), OneALine(), AsJson()
    ] = Field(default_factory=list, description="Findings that were read: each `[dag_id, code]`.")
    waves: Maybe[WavesRequest] = Field(
        None, description="Number of dag runs of the whole set at a time. Left out: all at once."
    )

    def pace(self) -> Pace:
        """Return the waves of the set.

        :raises Refused: 422 when the waves contradict themselves
        """
        return Pace(self.waves.waves(), is_chosen=True) if self.waves is not None else ALL_AT_ONCE

    def given(self) -> SetConfirmation:
        """Return the values of the confirmation that the set requires."""
        return SetConfirmation(
            self.reason or "", self.confirm_task_instances, tuple(dict.fromkeys(self.acknowledge))
        )


class ContinueChangeSetRequest(Request):
    """Go on with a change set that stopped, or that waits for a person."""

    reason: Maybe[Reason] = None
    skip_failed: bool = Field(False, description="Go on although cleared runs failed.")
    skip_stopped: bool = Field(
        False, description="Skip plans that would only stop again, and continue the others."
    )
    waves: Maybe[WavesRequest] = Field(None, description="The waves of the whole set from now on.")


class AgainRequest(Request):
    """Preview a change set again, as things are now."""

    without: Maybe[Ids] = Field(None, description="Dags of the set to leave out.")

    @property
    def left_out(self) -> tuple[str, ...]:
        """The DAGs to leave out, each once."""
        return tuple(dict.fromkeys(self.without or ()))


class UndoChangeSetRequest(Request):
    """Undo a change set: whole, some of its Dags, or some of their runs."""

    dag_ids: Maybe[Ids] = Field(None, description="Dags of the set. If `runs` is left out too: all of them.")
    runs: Maybe[Annotated[dict[StoredId, StoredIds], Field(min_length=1, max_length=MAX_DAGS)]] = Field(
        None, description="Run ids by Dag id."
    )
    reason: Maybe[Reason] = None
    cleared_runs: Maybe[Annotated[dict[StoredId, Count], Field(max_length=MAX_DAGS), AsJson()]] = Field(
        None,
        description="The number of cleared dag runs by Dag id, when the undo was previewed. If more runs are "
        "cleared now, or runs of another of these Dags, nothing is undone.",
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> UndoChangeSetRequest:
        if self.dag_ids is not None and self.runs is not None:
            raise PydanticCustomError("undo", "Send `dag_ids` or `runs`, but not both.")
        return self

    def chosen(self) -> dict[str, tuple[str, ...]]:
        """Return run ids by DAG id; no run ids stand for the whole DAG, and no DAG for the whole set."""
        if self.runs is not None:
            return {dag_id: tuple(dict.fromkeys(run_ids)) for dag_id, run_ids in self.runs.items()}
        return dict.fromkeys(self.dag_ids or (), ())
