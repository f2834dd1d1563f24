"""The verdict of an undo on each task instance that a clear changed, decided in SQL.

Written once: the preview of an undo counts it, the undo stores it and acts on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Subquery,
    Table,
    and_,
    case,
    func,
    or_,
    select,
)

from safe_clear_plugin.airflow_api.clear import start_evidence
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row, of_dag
from safe_clear_plugin.airflow_api.platform.key_table import is_named
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, PLANNED_EFFECTS, SCHEDULER_EFFECTS, Effect
from safe_clear_plugin.core.undo import RESTORABLE_STATES, Verdict
from safe_clear_plugin.storage.rows import in_runs, is_open_run, of_plan, planned_with_run, same_task_instance
from safe_clear_plugin.storage.tables import before_task_instance, plan_run, plan_task_instance


def task_instance_verdicts(plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None = None) -> Subquery:
    """Select, for each row that the clear or the scheduler after it changed, what an undo can do with it now.

    Columns run_id, task_id, map_index, effect, before, now, verdict and id_now, of runs that are cleared and
    not undone.
    To be read within :func:`~safe_clear_plugin.airflow_api.platform.joins.join_runs`.
    """
    planned, image, live = plan_task_instance, before_task_instance, task_instance
    return (
        select(
            planned.c.run_id,
            planned.c.task_id,
            planned.c.map_index,
            planned.c.effect,
            planned.c.state.label("before"),
            live.c.state.label("now"),
            live.c.id.label("id_now"),
            _verdict(planned, image, live).label("verdict"),
        )
        .select_from(_joined(plan_id, dag_id, run_ids))
        .where(
            planned.c.plan_id == plan_id,
            in_runs(planned, plan_id, run_ids, only_open=True),
            planned.c.effect.in_(PLANNED_EFFECTS),
            *open_runs(run_ids),
        )
        # Keeps PostgreSQL from working out a verdict wherever it is read.
        .offset(0)
        .subquery("verdicts")
    )


def _joined(plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None) -> FromClause:
    """Join each planned task instance with its run, its before-image and its row now, as far as there are."""
    planned, image, live = plan_task_instance, before_task_instance, task_instance
    return (
        planned_with_run()
        .outerjoin(
            image,
            and_(
                image.c.plan_id == planned.c.plan_id,
                same_task_instance(image, planned),
                in_runs(image, plan_id, run_ids, only_open=True),
            ),
        )
        .outerjoin(
            live,
            and_(
                of_dag(live, dag_id),
                same_task_instance(live, planned),
                in_runs(live, plan_id, run_ids, only_open=True),
            ),
        )
    )


def open_runs(run_ids: Sequence[str] | None) -> list[ColumnElement[bool]]:
    """Return the conditions on a plan's runs to be cleared and not undone; of ``run_ids``, if given."""
    named = [] if run_ids is None else [is_named(plan_run.c.run_id, run_ids)]
    return [is_open_run(), *named]


def _verdict(planned: Table, image: Table, live: Table) -> ColumnElement[str]:
    """Return the verdict on a task instance: the first reason for which it stays, or that it is restored."""
    cleared = planned.c.effect.in_(CLEARED_EFFECTS)
    started = start_evidence.has_started(
        image,
        live,
        cleared=cleared,
        marked_removed=or_(
            planned.c.after_state == "removed",
            planned.c.foreseen_state == "removed",
            image.c.state == "removed",
        ),
        cleared_at=plan_run.c.applied_at,
    )
    was_pending = and_(image.c.state.is_not(None), image.c.state.not_in(RESTORABLE_STATES))
    created = planned.c.effect == Effect.SCHEDULER_CREATES.value
    given_id = case(
        (planned.c.effect.in_(SCHEDULER_EFFECTS), func.coalesce(image.c.id, live.c.id)),
        else_=planned.c.new_task_instance_id,
    )
    return case(
        (
            or_(and_(created, live.c.id.is_(None)), _is_as_it_was(planned, image, live)),
            Verdict.PUT_BACK.value,
        ),
        (live.c.id.is_(None), Verdict.GONE.value),
        (was_pending, Verdict.WAS_PENDING.value),
        (live.c.id.is_distinct_from(given_id), Verdict.CLEARED_AGAIN.value),
        (started, Verdict.STARTED.value),
        (start_evidence.is_version_removed(image.c.dag_version_id), Verdict.VERSION_GONE.value),
        (start_evidence.may_be_queued(image, live), Verdict.MAY_BE_QUEUED.value),
        else_=Verdict.PUT_BACK.value,
    )


def _is_as_it_was(planned: Table, image: Table, live: Table) -> ColumnElement[bool]:
    """Whether the scheduler has not come to what it was to restore or to remove, so that nothing is left."""
    return and_(
        planned.c.effect.in_((Effect.SCHEDULER_RESTORES, Effect.SCHEDULER_REMOVES)),
        live.c.id == image.c.id,
        *(live.c[name].is_not_distinct_from(image.c[name]) for name in ("state", "try_number", "start_date")),
        or_(image.c.state.is_(None), image.c.state.in_(RESTORABLE_STATES)),
    )


def is_change(verdicts: FromClause) -> ColumnElement[bool]:
    """Whether the scheduler has created, restored or removed a task instance, as foreseen."""
    created = verdicts.c.effect == Effect.SCHEDULER_CREATES.value
    changed = verdicts.c.before.is_distinct_from(verdicts.c.now)
    return and_(
        verdicts.c.effect.in_(SCHEDULER_EFFECTS),
        verdicts.c.id_now.is_not(None),
        or_(created, changed),
    )


def is_covered(plan_id: UUID, row: FromClause) -> ColumnElement[bool]:
    """Whether the plan's clear changed the task instance of a row, or the scheduler because of it."""
    planned = plan_task_instance.alias("of_plan")
    return exists_row(
        planned,
        of_plan(planned, plan_id),
        same_task_instance(planned, row),
        planned.c.effect.in_(PLANNED_EFFECTS),
    )
