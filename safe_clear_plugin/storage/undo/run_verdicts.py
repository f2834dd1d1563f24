"""Whether an undo gives a dag run its own row back, decided in SQL from its task instances' verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Subquery, and_, case, func, not_, or_, select

from safe_clear_plugin.airflow_api.clear import start_evidence
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row, of_dag, without_index
from safe_clear_plugin.airflow_api.platform.task_states import is_unfinished
from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.states import FINISHED_RUN_STATES, UNFINISHED_RUN_STATES
from safe_clear_plugin.core.undo import KeptRun, Verdict
from safe_clear_plugin.storage.rows import in_runs, is_planned_run, same_task_instance
from safe_clear_plugin.storage.tables import before_dag_run, before_task_instance, plan, plan_run
from safe_clear_plugin.storage.undo.verdicts import is_covered, open_runs


def run_verdicts(
    plan_id: UUID, dag_id: str, verdicts: FromClause, run_ids: Sequence[str] | None = None
) -> Subquery:
    """Select, for each dag run that is cleared and not undone, whether it gets its own state back.

    Columns run_id, dag_run_id, logical_date, run_after, run_type, state_back, state_now, cleared, put_back
    (counts of task instances), whole, kept (:class:`~safe_clear_plugin.core.undo.KeptRun`). ``verdicts`` has
    run_id, effect and verdict.
    To be read within :func:`~safe_clear_plugin.airflow_api.platform.joins.join_runs`.

    ``whole`` needs that our clear touched the run and nothing else has: its clear number is the one that our
    clear gave it, all that was cleared comes back, it has not finished and, if it was finished, nothing in it
    was started by anyone else.
    """
    image, live = before_dag_run, dag_run
    tally = _tally(verdicts)
    finished = image.c.state.in_(FINISHED_RUN_STATES)
    kept = _kept(tally, plan_id, dag_id, run_ids)
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
            kept.label("kept"),
        )
        .select_from(_joined(tally, plan_id, dag_id, run_ids))
        .where(plan_run.c.plan_id == plan_id, *open_runs(run_ids))
        # Keeps PostgreSQL from working out ``kept`` for each of the two columns.
        .offset(0)
        .subquery()
    )
    return select(inner, inner.c.kept.is_(None).label("whole")).subquery("run_verdicts")


def _kept(
    tally: Subquery, plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None
) -> ColumnElement[str | None]:
    """Return the first reason for which a run goes on; none where it gets its own row back."""
    image, live = before_dag_run, dag_run
    finished = image.c.state.in_(FINISHED_RUN_STATES)
    return case(
        (live.c.id.is_(None), KeptRun.DELETED.value),
        (not_(_resets_runs(plan_id)), KeptRun.NOT_RESET.value),
        (live.c.clear_number != image.c.clear_number + 1, KeptRun.CLEARED_AGAIN.value),
        (tally.c.stays > 0, KeptRun.SOME_STAY.value),
        (and_(finished, _uncleared_changed(plan_id, dag_id, run_ids)), KeptRun.OTHERS_MOVED.value),
        (live.c.state.not_in(UNFINISHED_RUN_STATES), KeptRun.FINISHED.value),
        (start_evidence.is_version_removed(image.c.created_dag_version_id), KeptRun.VERSION_GONE.value),
        else_=None,
    )


def _joined(tally: Subquery, plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None) -> FromClause:
    """Join each planned run with its before-image, the counts of its verdicts, and its row now, if any."""
    image, live = before_dag_run, dag_run
    return (
        plan_run.join(image, and_(image.c.plan_id == plan_run.c.plan_id, image.c.id == plan_run.c.dag_run_id))
        .join(tally, tally.c.run_id == plan_run.c.run_id)
        .outerjoin(
            live,
            and_(
                live.c.id == plan_run.c.dag_run_id,
                without_index(live.c.dag_id) == dag_id,
                is_planned_run(live, plan_id, run_ids),
            ),
        )
    )


def _resets_runs(plan_id: UUID) -> ColumnElement[bool]:
    """Whether the plan's clear touched its dag runs.

    Their clear numbers cannot tell: somebody else's clear may have raised one by one.
    """
    resets = plan.c.selection["reset_dag_runs"].as_boolean()
    return select(resets).where(plan.c.id == plan_id).scalar_subquery()


def _tally(verdicts: FromClause) -> Subquery:
    """Count the verdicts by run: what was cleared, what of that comes back, what of any kind stays."""
    cleared = verdicts.c.effect.in_(CLEARED_EFFECTS)
    back = verdicts.c.verdict == Verdict.PUT_BACK.value
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


def _uncleared_changed(plan_id: UUID, dag_id: str, run_ids: Sequence[str] | None) -> ColumnElement[bool]:
    """Whether a task instance of the run that the clear did not touch has come to life, or moved, since."""
    ti = task_instance.alias("work")
    image = before_task_instance.alias("as_it_was")
    as_before = and_(
        same_task_instance(image, ti),
        image.c.id == ti.c.id,
        image.c.state.is_not_distinct_from(ti.c.state),
        image.c.try_number == ti.c.try_number,
    )
    came_to_life = select(ti.c.run_id).where(
        of_dag(ti, dag_id),
        in_runs(ti, plan_id, run_ids, only_open=True),
        is_unfinished(ti.c.state),
        not_(is_covered(plan_id, ti)),
        not_(exists_row(image, image.c.plan_id == plan_id, as_before)),
    )
    moved = select(image.c.run_id).where(
        image.c.plan_id == plan_id,
        in_runs(image, plan_id, run_ids, only_open=True),
        not_(is_covered(plan_id, image)),
        not_(exists_row(ti, without_index(ti.c.dag_id) == dag_id, as_before)),
    )
    # Not of one run each, so that PostgreSQL reads the task instances of all runs once.
    return or_(plan_run.c.run_id.in_(came_to_life), plan_run.c.run_id.in_(moved))
