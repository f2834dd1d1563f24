"""What an undo can do with each row that a clear changed, decided in SQL.

Written once: the preview of an undo counts it, the undo stores it and acts on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Subquery,
    Table,
    and_,
    case,
    exists,
    false,
    func,
    not_,
    or_,
    select,
)

from safe_clear_plugin.airflow_api.clear import locks
from safe_clear_plugin.airflow_api.clear.audit_log import STUCK_EVENT
from safe_clear_plugin.airflow_api.platform.airflow_tables import (
    dag_run,
    dag_version,
    log,
    task_instance,
    task_reschedule,
)
from safe_clear_plugin.airflow_api.platform.joins import is_one_of
from safe_clear_plugin.airflow_api.selection.selection_queries import is_unfinished
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, COVERED_EFFECTS
from safe_clear_plugin.core.states import FINISHED_RUN_STATES
from safe_clear_plugin.core.undo import RESTORABLE_STATES
from safe_clear_plugin.storage.clear.before_images import same_key
from safe_clear_plugin.storage.tables import (
    before_dag_run,
    before_task_instance,
    plan,
    plan_run,
    plan_task_instance,
)


def task_instance_verdicts(plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None = None) -> Subquery:
    """Select, for each row that the clear changed, what an undo can do with it now.

    Columns run_id, task_id, map_index, effect, before, now, verdict; of runs that are cleared and not undone.
    To be read within :func:`~safe_clear_plugin.airflow_api.platform.joins.hash_joins`.
    """
    planned, image, live = plan_task_instance, before_task_instance, task_instance
    conditions = [
        planned.c.plan_id == plan_id,
        _of_runs(planned, plan_id, run_ids),
        planned.c.effect.in_(COVERED_EFFECTS),
        *open_runs(run_ids),
    ]
    joined = (
        planned.join(
            plan_run, and_(plan_run.c.plan_id == planned.c.plan_id, plan_run.c.run_id == planned.c.run_id)
        )
        .outerjoin(
            image,
            and_(
                image.c.plan_id == planned.c.plan_id,
                same_key(image, planned),
                _of_runs(image, plan_id, run_ids),
            ),
        )
        .outerjoin(
            live,
            and_(live.c.dag_id == dag_id, same_key(live, planned), _of_runs(live, plan_id, run_ids)),
        )
    )
    return (
        select(
            planned.c.run_id,
            planned.c.task_id,
            planned.c.map_index,
            planned.c.effect,
            planned.c.state.label("before"),
            live.c.state.label("now"),
            _verdict(planned, image, live).label("verdict"),
        )
        .select_from(joined)
        .where(*conditions)
        .subquery("verdicts")
    )


def open_runs(run_ids: Sequence[str] | None) -> list[ColumnElement[bool]]:
    """Return the conditions on a plan's runs to be cleared and not undone; of ``run_ids``, if given."""
    named = [] if run_ids is None else [plan_run.c.run_id.in_(run_ids)]
    return [_is_open(plan_run), *named]


def _is_open(runs: FromClause) -> ColumnElement[bool]:
    return and_(runs.c.applied_at.is_not(None), runs.c.undone_at.is_(None))


def _of_runs(table: FromClause, plan_id: UUID, run_ids: Sequence[str] | None) -> ColumnElement[bool]:
    """Whether a row is of the runs to look at, said of each table, so that no more of it is read."""
    if run_ids is not None:
        return table.c.run_id.in_(run_ids)
    opened = plan_run.alias("opened")
    return is_one_of(
        table.c.run_id, select(opened.c.run_id).where(opened.c.plan_id == plan_id, _is_open(opened))
    )


def _verdict(planned: Table, image: Table, live: Table) -> ColumnElement[str]:
    """Return why a task instance stays, or ``put_back``.

    A state of none or scheduled alone does not prove that it has not started: a rescheduled or a deferred one
    comes back to scheduled. A try that an executor has seen is spent, so a queued one stays, and so does one
    that was queued and came back because its scheduler died or its executor never took it.
    """
    cleared = planned.c.effect.in_(CLEARED_EFFECTS)
    waits = or_(
        live.c.state.is_(None),
        live.c.state == "scheduled",
        # The scheduler itself marks one whose task the DAG does not have, which starts nothing.
        and_(
            or_(planned.c.after_state == "removed", image.c.state == "removed"),
            live.c.state.is_not_distinct_from("removed"),
        ).is_(True),
    )
    started = or_(
        not_(waits),
        live.c.start_date.is_distinct_from(image.c.start_date),
        live.c.queued_dttm.is_distinct_from(image.c.queued_dttm),
        live.c.next_method.is_not(None),
        live.c.external_executor_id.is_distinct_from(
            case((cleared, None), else_=image.c.external_executor_id)
        ),
        _was_stuck(planned, live),
        and_(cleared, exists().where(task_reschedule.c.ti_id == live.c.id)),
    )
    return case(
        (live.c.id.is_(None), "gone"),
        (and_(image.c.state.is_not(None), image.c.state.not_in(RESTORABLE_STATES)), "was_pending"),
        (live.c.id.is_distinct_from(planned.c.new_task_instance_id), "cleared_again"),
        (started, "started"),
        (_is_gone(image.c.dag_version_id), "version_gone"),
        (_may_be_queued(image, live), "may_be_queued"),
        else_="put_back",
    )


def _may_be_queued(image: Table, live: Table) -> ColumnElement[bool]:
    """Whether the scheduler may be about to queue a task instance, and cannot be kept from it.

    Being scheduled raises the try number, which a clear leaves as it is.
    """
    if locks.can_lock_out_scheduler():
        return false()
    tried = live.c.try_number.is_distinct_from(func.coalesce(image.c.try_number, 0))
    return or_(live.c.state == "scheduled", and_(live.c.state.is_(None), tried)).is_(True)


def _was_stuck(planned: Table, live: Table) -> ColumnElement[bool]:
    """Whether the scheduler has taken a task instance back since, which leaves no trace in its row."""
    return exists().where(
        log.c.event == STUCK_EVENT,
        log.c.dag_id == live.c.dag_id,
        log.c.task_id == planned.c.task_id,
        log.c.run_id == planned.c.run_id,
        log.c.map_index == planned.c.map_index,
        log.c.dttm >= plan_run.c.applied_at,
    )


def _is_gone(version: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a DAG version has been removed since, as ``airflow db clean`` does with an unused one."""
    return and_(version.is_not(None), not_(exists().where(dag_version.c.id == version)))


def run_verdicts(
    plan_id: UUID, dag_id: str, verdicts: FromClause, run_ids: Sequence[str] | None = None
) -> Subquery:
    """Select, for each dag run that is cleared and not undone, whether it gets its own state back.

    Columns run_id, dag_run_id, logical_date, run_after, run_type, state_back, state_now, cleared, put_back
    (counts of task instances), whole, why_kept. ``verdicts`` has run_id, effect and verdict.
    To be read within :func:`~safe_clear_plugin.airflow_api.platform.joins.hash_joins`.

    ``whole`` needs that our clear touched the run and nothing else has: its clear number is the one that our
    clear gave it, all that was cleared comes back, it has not finished and, if it was finished, nothing in it
    was started by anyone else.
    """
    image, live = before_dag_run, dag_run
    tally = _tally(verdicts)
    finished = image.c.state.in_(FINISHED_RUN_STATES)
    why = case(
        (live.c.id.is_(None), "the dag run was deleted"),
        (not_(_resets_runs(plan_id)), "the clear left its state alone"),
        (live.c.clear_number != image.c.clear_number + 1, "cleared again since"),
        (tally.c.stays > 0, "some of its task instances stay"),
        (and_(finished, _others_moved(plan_id, dag_id, run_ids)), "other task instances of it have moved"),
        (live.c.state.not_in(("queued", "running")), "it has finished since"),
        (_is_gone(image.c.created_dag_version_id), "its DAG version has been removed"),
        else_=None,
    )
    joined = (
        plan_run.join(image, and_(image.c.plan_id == plan_run.c.plan_id, image.c.id == plan_run.c.dag_run_id))
        .join(tally, tally.c.run_id == plan_run.c.run_id)
        .outerjoin(
            live,
            and_(
                live.c.id == plan_run.c.dag_run_id,
                live.c.dag_id == dag_id,
                _of_runs(live, plan_id, run_ids),
            ),
        )
    )
    inner = (
        select(
            plan_run.c.run_id,
            plan_run.c.dag_run_id,
            plan_run.c.logical_date,
            plan_run.c.run_after,
            plan_run.c.run_type,
            # An unfinished run has the state that the scheduler gave it since.
            case((finished, image.c.state), else_=live.c.state).label("state_back"),
            live.c.state.label("state_now"),
            tally.c.cleared,
            tally.c.put_back,
            why.label("why_kept"),
        )
        .select_from(joined)
        .where(plan_run.c.plan_id == plan_id, *open_runs(run_ids))
        .subquery()
    )
    return select(inner, inner.c.why_kept.is_(None).label("whole")).subquery("run_verdicts")


def _resets_runs(plan_id: UUID) -> ColumnElement[bool]:
    """Whether the plan's clear touched its dag runs.

    Their clear numbers cannot tell: somebody else's clear may have raised one by one.
    """
    resets = plan.c.selection["reset_dag_runs"].as_boolean()
    return select(resets).where(plan.c.id == plan_id).scalar_subquery()


def _tally(verdicts: FromClause) -> Subquery:
    """Count the verdicts by run: what was cleared, what of that comes back, what of any kind stays."""
    cleared = verdicts.c.effect.in_(CLEARED_EFFECTS)
    back = verdicts.c.verdict == "put_back"
    return (
        select(
            verdicts.c.run_id,
            func.sum(case((cleared, 1), else_=0)).label("cleared"),
            func.sum(case((and_(cleared, back), 1), else_=0)).label("put_back"),
            func.sum(case((back, 0), else_=1)).label("stays"),
        )
        .group_by(verdicts.c.run_id)
        .subquery("tally")
    )


def _others_moved(plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None) -> ColumnElement[bool]:
    """Whether a task instance of the run that the clear did not touch has come to life, or moved, since."""
    ti = task_instance.alias("work")
    image = before_task_instance.alias("as_it_was")
    # PostgreSQL may look for those of all runs at once.
    of_these = [] if run_ids is None else [ti.c.run_id.in_(run_ids)]
    images_of_these = [] if run_ids is None else [image.c.run_id.in_(run_ids)]
    as_before = and_(
        same_key(image, ti),
        image.c.id == ti.c.id,
        image.c.state.is_not_distinct_from(ti.c.state),
        image.c.try_number == ti.c.try_number,
    )
    came_to_life = exists().where(
        ti.c.dag_id == dag_id,
        ti.c.run_id == plan_run.c.run_id,
        *of_these,
        is_unfinished(ti.c.state),
        not_(is_covered(plan_id, ti)),
        not_(exists().where(image.c.plan_id == plan_id, as_before)),
    )
    moved = exists().where(
        image.c.plan_id == plan_id,
        image.c.run_id == plan_run.c.run_id,
        *images_of_these,
        not_(is_covered(plan_id, image)),
        not_(exists().where(ti.c.dag_id == dag_id, as_before)),
    )
    return or_(came_to_life, moved)


def is_covered(plan_id: UUID, row: FromClause) -> ColumnElement[bool]:
    """Whether the plan's clear changed the task instance of a row."""
    planned = plan_task_instance.alias("of_plan")
    return exists().where(
        planned.c.plan_id == plan_id, same_key(planned, row), planned.c.effect.in_(COVERED_EFFECTS)
    )
