"""A new plan without what was unticked in the table of another."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from werkzeug.datastructures import MultiDict
from wtforms import ValidationError

from safe_clear_plugin.airflow_api.audit import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.preview import make_plan
from safe_clear_plugin.web.bodies import REASON_LENGTH, storable
from safe_clear_plugin.web.fields import MOST_LINES
from safe_clear_plugin.web.forms import filled


def plan_without(plan: PlanSummary, form: MultiDict[str, str], actor: Actor, now: datetime) -> PlanSummary:
    """Plan the same without what the form shows unticked, and keep the reason.

    :raises Refused: 422 when nothing is unticked, or something that is no task instance
    """
    reason = storable(form.get("reason", "").strip())[:REASON_LENGTH] or plan.reason_of(actor.id)
    return make_plan(narrowed(plan.selection, form), actor, now, reason=reason)


def narrowed(selection: Selection, form: MultiDict[str, str]) -> Selection:
    """Return the selection without what is unticked; what it leaves out already stays left out."""
    tasks, runs, rows = (_unticked(form, kind) for kind in ("task", "run", "row"))
    if not (tasks or runs or rows):
        raise Refused(422, Problem("Everything is ticked.", "Untick what is to stay as it is, then preview."))
    if max(len(tasks), len(runs), len(rows)) > MOST_LINES:
        raise Refused(
            422, Problem(f"More than {MOST_LINES:,} are unticked.", "Change the selection instead.")
        )
    read = filled(Selection(selection.dag_id))
    read.exclude_task_instance.data = rows
    try:
        keys = read.exclude_task_instance.keys()
    except ValidationError as error:
        raise Refused(422, Problem(str(error), "Reload the plan and untick again.")) from None
    return replace(
        selection,
        exclude_task_id=_added(selection.exclude_task_id, tasks),
        exclude_run_id=_added(selection.exclude_run_id, runs),
        exclude_task_instance=_added(
            selection.exclude_task_instance,
            [key for key in keys if key[0] not in tasks and key[2] not in runs],
        ),
    )


def _unticked(form: MultiDict[str, str], kind: str) -> list[str]:
    """Return what is shown but not ticked: each box is numbered by the hidden field that it belongs to."""
    kept = set(form.getlist(f"keep_{kind}"))
    shown = enumerate(form.getlist(kind))
    return list(dict.fromkeys(storable(value) for number, value in shown if str(number) not in kept))


def _added(before: tuple[Any, ...], more: list[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys([*before, *more]))
