"""A new plan without what was unticked in the table of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from safe_clear_plugin.airflow_api.clear.audit_log import Actor
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.web.api.bodies import ExcludeRequest

T = TypeVar("T")


def plan_without(plan: PlanSummary, asked: ExcludeRequest, actor: Actor, now: datetime) -> PlanSummary:
    """Plan the same without what is shown unticked, and keep the reason.

    :raises Refused: 422 when nothing is unticked, or a tick belongs to nothing
    """
    reason = asked.reason or plan.reason_of(actor.id)
    return make_plan(narrowed(plan.selection, asked), actor, now, reason=reason)


def narrowed(selection: Selection, asked: ExcludeRequest) -> Selection:
    """Return the selection without what is unticked; what it leaves out already stays left out."""
    tasks = _unticked("task", asked.task or (), asked.keep_task)
    runs = _unticked("run", asked.run or (), asked.keep_run)
    rows = [TaskInstanceKey.from_json(row) for row in _unticked("row", asked.row or (), asked.keep_row)]
    if not (tasks or runs or rows):
        raise Refused(
            422, Problem("Everything is ticked.", "Untick the rows to leave alone, then preview again.")
        )
    return replace(
        selection,
        exclude_task_id=_added(selection.exclude_task_id, tasks),
        exclude_run_id=_added(selection.exclude_run_id, runs),
        exclude_task_instance=_added(
            selection.exclude_task_instance,
            [key for key in rows if key.task_id not in tasks and key.run_id not in runs],
        ),
    )


def _unticked(kind: str, shown: Sequence[T], kept: Sequence[int]) -> list[T]:
    """Return what is shown but not ticked: each box is numbered by the hidden field that it belongs to."""
    if any(number >= len(shown) for number in kept):
        raise Refused(422, Problem(f"`keep_{kind}` has a number without a `{kind}`.", "Reload the plan."))
    ticked = set(kept)
    return list(dict.fromkeys(value for number, value in enumerate(shown) if number not in ticked))


def _added(before: tuple[T, ...], more: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys([*before, *more]))
