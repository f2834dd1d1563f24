"""Making a change set of a plan and the DAGs that wait for it: the offer, the form and the refusal."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from flask import redirect

from safe_clear_plugin.core.input_limits import LIST_ITEMS, NAMES_SHOWN
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.core.time_difference import SAME_DATE, read_time_difference, write_time_difference
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.change_sets import waiting
from safe_clear_plugin.services.change_sets.waiting import WaitingDags, WaitingSensor
from safe_clear_plugin.web.api.change_set_bodies import IncludeWaitingRequest
from safe_clear_plugin.web.app import links, request_hooks, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.change_sets.refused_preview import Fields, RefusedPreview, refused_preview

FILL_ALL_FROM = 5
"""From this number of sensors without a time, the form has one field that fills all empty fields."""
AWAITED_TASKS_SHOWN = 3
"""The number of awaited tasks that a row names; it only counts more of them."""
NO_TIME = Problem("No time was entered.", "Enter the time of each sensor to include.")
NOT_A_TIME = (
    "Enter a time such as 1h, 30m or 1d, or a number of seconds. "
    "0 means the same logical date, -1h one hour earlier."
)


@dataclass(frozen=True, slots=True)
class SensorRow:
    """A sensor that waits."""

    number: int
    """Its place in the list, from 1."""
    sensor: WaitingSensor
    key: str
    """The value of its hidden field in the form."""
    dag_url: str
    """The DAG's page in Airflow."""
    tasks: tuple[str, ...]
    """The first awaited tasks."""
    more_tasks: int
    known: str
    """The time that Airflow stores, in words; empty if the user must enter it."""
    typed: str
    error: str


@dataclass(frozen=True, slots=True)
class WaitingFormValues:
    """The values of the form, and its mistakes."""

    after: Mapping[tuple[str, str], str] = field(default_factory=dict)
    after_all: str = ""
    reason: str = ""
    errors: Collection[tuple[str, str]] = ()
    """Sensors whose time can't be read."""
    without: tuple[str, ...] = ()
    is_fresh: bool = False
    """Whether nothing was sent yet. A script then fills in the times that were typed earlier."""

    @property
    def is_wrong_for_all(self) -> bool:
        """Whether the time for all empty fields cannot be read."""
        return bool(self.after_all) and read_time_difference(self.after_all) is None


def form_url(plan_id: str | None) -> str:
    """Return the address of the form for the plan of a set, or ``""`` if the plan can't be included again."""
    if plan_id is None:
        return ""
    try:
        plan = plans.get_plan(plan_id)
    except Refused:
        return ""
    return templating.url("waiting_form", plan_id=plan.id) if waiting.can_include(plan) else ""


def include(plan: PlanSummary, sent: IncludeWaitingRequest, now: datetime) -> Any:
    """Make the change set and redirect to it, or to the form if times are missing. The form shows mistakes.

    :raises Refused: 409 when the plan was confirmed meanwhile; for programs, all errors of the service
    """
    if not waiting.can_include(plan):
        raise Refused(
            409,
            Problem(
                "This plan is no longer a preview: it was confirmed, declined, or is out of date.",
                "Nothing was planned. Open the plan to see its status.",
            ),
        )
    found = waiting.list_waiting(plan, caller().user, only_clearable=True)
    is_first = not sent.sensor and sent.without is None
    values = WaitingFormValues(
        sent.typed(),
        sent.after_all or "",
        sent.reason or "",
        # A Dag that was left out stays left out, whatever the caller may clear by now.
        without=tuple(dict.fromkeys(found.not_clearable if is_first else sent.without or ())),
    )
    if is_first and found.unmapped and not request_hooks.wants_json():
        # Back from the set then leads to the form, and not to a request to send again.
        return redirect(templating.url("waiting_form", plan_id=plan.id), code=303)
    times = sent.by_sensor()
    if wrong := {sensor for sensor, delta in times.items() if delta is None}:
        if request_hooks.wants_json():
            raise Refused(422, Problem(NOT_A_TIME, "Nothing was planned.", "after"))
        # An empty field is only wrong with the time for all, which has its own field.
        own = {sensor for sensor in wrong if values.after[sensor]}
        return _form(plan, found, replace(values, errors=own)), 422
    deltas = {sensor: delta for sensor, delta in times.items() if delta is not None}
    if sent.sensor and not deltas and len(found.unmapped) == len(found.sensors):
        return _form(plan, found, values, RefusedPreview(422, NO_TIME)), 422
    return _made(plan, found, values, deltas, now)


def _made(
    plan: PlanSummary,
    found: WaitingDags,
    values: WaitingFormValues,
    deltas: Mapping[tuple[str, str], timedelta],
    now: datetime,
) -> Any:
    try:
        made = waiting.plan_with_waiting(
            plan,
            deltas,
            caller().user,
            caller().actor,
            now,
            without=values.without,
            reason=values.reason,
        )
    except (Refused, Invalid) as error:
        if request_hooks.wants_json():
            raise
        refused = _why(plan, found, values, error)
        return _form(plan, found, values, refused), refused.status
    return redirect(templating.url("change_set", set_id=made.id), code=303)


def waiting_page(plan: PlanSummary) -> str:
    """Render the empty form."""
    found = waiting.list_waiting(plan, caller().user, only_clearable=True)
    reason = plan.reason_for_author(caller().id)
    return _form(plan, found, WaitingFormValues(reason=reason, without=found.not_clearable, is_fresh=True))


def _form(
    plan: PlanSummary, found: WaitingDags, values: WaitingFormValues, refused: RefusedPreview | None = None
) -> str:
    shown = [one for one in found.sensors if one.dag_id not in values.without]
    rows = [_row(number, one, values) for number, one in enumerate(shown[:LIST_ITEMS], start=1)]
    unmapped = sum(not row.known for row in rows)
    return templating.render(
        "waiting_dags.html",
        plan=plan,
        rows=rows,
        values=values,
        refused=refused,
        unmapped=unmapped,
        fills_all=unmapped >= FILL_ALL_FROM or bool(values.after_all),
        dags=1 + len(_reached(plan.dag_id, rows, values.after_all)),
        hidden=found.hidden,
        not_a_time=NOT_A_TIME,
        same_date=SAME_DATE,
        wrong=len(values.errors) + values.is_wrong_for_all,
        here=templating.NavState("", plan.dag_id),
    )


def _row(number: int, sensor: WaitingSensor, values: WaitingFormValues) -> SensorRow:
    key = (sensor.dag_id, sensor.task_id)
    return SensorRow(
        number,
        sensor,
        json.dumps(key),
        dag_url=links.airflow_url("dags", sensor.dag_id),
        tasks=sensor.awaited_task_ids[:AWAITED_TASKS_SHOWN],
        more_tasks=max(0, len(sensor.awaited_task_ids) - AWAITED_TASKS_SHOWN),
        known=write_time_difference(sensor.delta) if sensor.delta is not None else "",
        typed=values.after.get(key, ""),
        error=NOT_A_TIME if key in values.errors else "",
    )


def _reached(root: str, rows: Sequence[SensorRow], after_all: str) -> set[str]:
    """Return the DAGs with a sensor whose time is known and that waits for the plan, or for one of them."""
    timed = [row.sensor for row in rows if row.known or row.typed or after_all]
    found: set[str] = set()
    while new := {one.dag_id for one in timed if one.awaited_dag_id in {root, *found}} - found:
        found |= new
    return found


def _why(
    plan: PlanSummary, found: WaitingDags, values: WaitingFormValues, error: Refused | Invalid
) -> RefusedPreview:
    """Return why the set was not made, with the form fields that make it of the other DAGs."""

    def without(named: Sequence[str]) -> Fields:
        rows = (
            item
            for key, text in values.after.items()
            for item in (("sensor", json.dumps(key)), ("after", text))
        )
        more = (("after_all", values.after_all), ("reason", values.reason))
        left_out = dict.fromkeys((*values.without, *(one for one in named if one != plan.dag_id)))
        return (
            *rows,
            *((name, value) for name, value in more if value),
            *(("without", dag_id) for dag_id in left_out),
        )

    if isinstance(error, Refused) and (left_out := error.details.get("left_out")):
        dags = [
            {"dag_id": one["dag_id"], "error": one["reason"], "remedy": ""} for one in left_out[:NAMES_SHOWN]
        ]
        return RefusedPreview(error.status, error.problem, dags)
    others = [dag_id for dag_id in found.dag_ids if dag_id not in values.without]
    asked = [plan.dag_id, *others] if others else []
    refused = refused_preview(error, asked, without, always=(plan.dag_id,))
    if any(dag["dag_id"] == plan.dag_id for dag in refused.dags):
        # There is no set without the plan that the others wait for.
        return RefusedPreview(refused.status, refused.problem, refused.dags, refused.ticked)
    return refused
