"""The models of JSON answers about change sets."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from safe_clear_plugin.core.change_set import ChosenBy
from safe_clear_plugin.core.change_set_turns import Turn
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.plan import ShownStatus
from safe_clear_plugin.web.api.answer_base import Answer
from safe_clear_plugin.web.api.answers import (
    Confirmable,
    PlanItem,
    SelectionAnswer,
    UndeliveredMessage,
    Unsupported,
)
from safe_clear_plugin.web.api.refusal_answers import Unmet
from safe_clear_plugin.web.api.step_answers import UndoPreview, UndoProblem
from safe_clear_plugin.web.api.wave_answers import WavesAnswer


class MadeFrom(Answer):
    """The choice of the Dags of a set, and the selection in each of them."""

    chosen_by: ChosenBy
    dag_ids: list[str]
    dag_id_regex: str
    tags: list[str]
    owners: list[str]
    plan: str | None = Field(description="The plan that the Dags wait for, if they were chosen that way.")
    selection: SelectionAnswer = Field(
        description="The selection in each Dag, with an empty `dag_id`. For Dags that wait for a plan, it is "
        "the plan's own. If you can't see the plan's Dag, `plan` is null and this selection is empty."
    )


class Sensor(Answer):
    """A sensor that waits for tasks of a plan, or for a task downstream of such a sensor."""

    dag_id: str
    task_id: str
    awaited_dag_id: str
    awaited_task_ids: list[str]
    execution_delta: float | None = Field(
        description="Seconds; null: Airflow does not store it, so send it in `deltas`."
    )


class Sensors(Answer):
    """The sensors that wait for a plan."""

    items: list[Sensor]
    hidden: int = Field(description="Dags with such sensors that the caller may not see.")


class LeftOut(Answer):
    """A Dag that the filter matches, and in which no task instance matches."""

    dag_id: str
    reason: str
    remedy: str


class SetPlan(PlanItem):
    """A plan of the set."""

    position: int = Field(description="Plans are cleared in this order, from 0, and undone in reverse.")
    fingerprint: str
    url: str
    begun: bool = Field(description="Whether a task instance of it was cleared.")
    cleared_runs: int
    undo_asked_runs: int
    undone_runs: int
    under_undo: bool = Field(description="Whether an undo of it is not complete.")
    findings_not_checked: list[str]


@dataclass(frozen=True, slots=True)
class SetFinding(Finding):
    """A finding of one of the plans."""

    dag_id: str = ""
    plan_id: str = ""


class ChangeSetAnswer(Confirmable):
    """A change set with its plans; the numbers are totals over all plans."""

    fingerprint: str
    url: str
    cleared_runs: int
    undone_runs: int
    under_undo: bool = Field(description="Whether an undo of one of its plans is not complete.")
    made_from: MadeFrom
    left_out: list[LeftOut]
    stopped_by: str | None = Field(
        description="The Dag whose plan stopped the others, or is out of date; `problem` is of that plan."
    )
    waves: WavesAnswer | None = Field(description="Over all plans; null: all at once, or not confirmed yet.")
    plans: list[SetPlan]
    findings: list[SetFinding] = Field(description="The findings of all plans, in the order of the plans.")
    required: list[Unmet] = Field(
        description="The requirements that the caller must still meet to confirm the set."
    )
    unsupported: Unsupported | None
    undelivered: list[UndeliveredMessage] = Field(
        description="Messages that the webhook did not get. `POST /plans/<id>/webhook` for the first plan "
        "sends them again."
    )
    retry_after: float = Field(description="Seconds after which to ask again; 0: nothing is in progress.")


class TurnOfPlan(Answer):
    """The progress of one plan of the set."""

    id: str
    dag_id: str
    turn: Turn
    done: int
    total: int
    put_back: int
    stayed: int


class SetUndo(Answer):
    """The progress of the undo: ``done`` task instances are put back or stay, of the ``total`` requested."""

    under_way: bool
    done: int
    total: int
    dag_runs_done: int
    dag_runs_total: int
    put_back: int
    stayed: int


class SetProgress(Answer):
    """The progress of clear and undo and, unless one is in progress, the states of the re-runs."""

    id: str
    status: ShownStatus
    interrupted: bool = Field(description="It is in progress, but no driver has worked on it for a minute.")
    done: int
    total: int
    dag_runs_done: int
    dag_runs_total: int
    cleared_at: str | None
    waves: WavesAnswer | None = Field(description="Over all plans; null: all at once.")
    undo: SetUndo
    plans: list[TurnOfPlan]
    by_state: list[tuple[str | None, int]] | None
    finished: bool | None
    checked_at: str
    retry_after: float = Field(description="Seconds after which to ask again; 0: nothing is in progress.")


class SetUndoPlan(UndoPreview):
    """The preview of the undo of one plan."""

    dag_id: str
    plan_id: str
    counted: bool = Field(
        description="Whether there was time to count. If not, all numbers are 0; "
        "`GET /plans/<id>/undo.json` counts them."
    )


class SetUndoPreview(Answer):
    """The preview of the undo of a change set. The totals cover only plans with `counted`."""

    id: str
    task_instances: int
    put_back: int
    stay: int
    dag_runs_total: int
    whole_dag_runs: int
    complete: bool = Field(description="Whether all plans were counted.")
    plans: list[SetUndoPlan] = Field(
        description="In the order in which they are undone. Without `dag_id`: the plans that are cleared "
        "and not undone."
    )
    problem: UndoProblem | None = Field(description="Why the undo would be refused.")
