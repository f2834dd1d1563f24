"""Lets a plan follow a new DAG version if everything that the plan depends on is the same in it.

The plan's rows get the version that the clear will give to Airflow's rows, so that the clear is verified by
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import Version
from safe_clear_plugin.airflow_api.scheduling.integrity import Checked, CheckedAmong
from safe_clear_plugin.core.drift import DriftCode, DriftedRow
from safe_clear_plugin.core.effects import SCHEDULER_EFFECTS, Effect
from safe_clear_plugin.core.outcomes import OutcomeReason
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.states import FINISHED_RUN_STATES
from safe_clear_plugin.storage.plans import scheduler_rows
from safe_clear_plugin.storage.rows import plan_tables
from safe_clear_plugin.storage.tables import plan as plan_table
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance


def follow(
    plan: PlanSummary, known: Mapping[str, Any], latest: Version, session: Session
) -> list[DriftedRow]:
    """Give the plan's uncleared rows the latest version in place of the ``known`` one.

    Returns what the scheduler would do because of it that it would not have done; then nothing is written.
    """
    savepoint = session.begin_nested()
    before = UUID(known["id"])
    if before != latest.id:
        _follow_task_instances(plan, before, latest.id, session)
        _follow_runs(plan, before, latest.id, known["bundle_version"], session)
    if unforeseen := _scheduler_changes(plan, latest, session):
        savepoint.rollback()
        return unforeseen
    _keep(plan, known, latest, session)
    savepoint.commit()
    return []


def _is_left(plan: PlanSummary) -> ColumnElement[bool]:
    """Whether a run of the plan is not cleared yet."""
    return and_(plan_run.c.plan_id == UUID(plan.id), plan_run.c.applied_at.is_(None))


def _follow_task_instances(plan: PlanSummary, before: UUID, now: UUID, session: Session) -> None:
    """Change the version that rows get with the run or from the scheduler, not one that they have already.

    A cleared task instance of a run that moves gets the latest version, with any version before.
    """
    rows = plan_task_instance
    moving, verified = (
        rows.c.run_id.in_(select(plan_run.c.run_id).where(_is_left(plan), condition))
        for condition in (plan_run.c.moves_to_latest, plan_run.c.is_verified)
    )
    gets_it = rows.c.dag_version_id.is_distinct_from(before)
    session.execute(
        update(rows)
        .where(
            rows.c.plan_id == UUID(plan.id),
            rows.c.after_dag_version_id == before,
            or_(
                and_(moving, or_(gets_it, rows.c.effect == Effect.CLEAR.value)),
                and_(verified, gets_it),
            ),
        )
        .values(after_dag_version_id=now)
    )


def _follow_runs(plan: PlanSummary, before: UUID, now: UUID, bundle: str | None, session: Session) -> None:
    """Change the version that runs use which have none of their own, or move; as ``uses_version`` says."""
    runs = plan_run.c
    has_own = and_(~runs.moves_to_latest, func.coalesce(runs.bundle_version, "") != "")
    is_followed = (_is_left(plan), runs.uses_dag_version_id == before)
    if plan.selection.reset_dag_runs:
        moved: dict[str, Any] = {"after_dag_version_id": now}
        if bundle is not None:
            finished = runs.state.in_(FINISHED_RUN_STATES)
            gets_bundle = or_(finished, runs.dag_version_id.is_distinct_from(now))
            moved["after_bundle_version"] = case((gets_bundle, bundle), else_=runs.after_bundle_version)
        session.execute(update(plan_run).where(*is_followed, runs.moves_to_latest).values(**moved))
    own = and_(has_own, runs.dag_version_id.is_not(None))
    session.execute(update(plan_run).where(*is_followed, ~own).values(uses_dag_version_id=now))


def _scheduler_changes(plan: PlanSummary, latest: Version, session: Session) -> list[DriftedRow]:
    """Return the scheduler's changes to runs that it would have left alone: they had the old version.

    It compares them with the new version. If they have the tasks of both versions, there are no changes.
    """
    checked = Checked(plan_tables(UUID(plan.id)), plan.dag_id, latest)
    newly = checked.newly_verified(plan.selection.reset_dag_runs).where(_is_left(plan))
    run_ids = session.scalars(newly).all()
    if not run_ids:
        return []
    among = CheckedAmong(checked.plan, checked.dag_id, latest, run_ids)
    session.execute(among.mark())
    scheduler_rows.write(among, session)
    return _unforeseen(plan, among, session)


VERBS = {
    Effect.SCHEDULER_CREATES: "create",
    Effect.SCHEDULER_RESTORES: "restore",
    Effect.SCHEDULER_REMOVES: "remove",
}


def _unforeseen(plan: PlanSummary, among: CheckedAmong, session: Session) -> list[DriftedRow]:
    """Return, by task, the rows that were written for runs without a foreseen change."""
    rows = plan_task_instance.c
    removed = rows.outcome_reason.in_((OutcomeReason.TASK_GONE, OutcomeReason.MAP_INDEX_GONE))
    effect = case((removed, Effect.SCHEDULER_REMOVES.value), else_=rows.effect).label("effect")
    found = session.execute(
        select(rows.task_id, effect, func.count(rows.run_id.distinct()).label("runs"))
        .select_from(among.plan.joined())
        .where(
            rows.plan_id == among.plan.plan_id,
            among.verified,
            or_(rows.effect.in_(SCHEDULER_EFFECTS), removed),
        )
        .group_by(rows.task_id, effect)
        .order_by(rows.task_id)
    )
    return [
        DriftedRow(
            "dag_version",
            DriftCode.SCHEDULER_CHANGES,
            "left alone",
            VERBS[Effect(row.effect)],
            task_id=row.task_id,
            dag_id=plan.dag_id,
            runs=row.runs,
        )
        for row in found
    ]


def _keep(plan: PlanSummary, known: Mapping[str, Any], latest: Version, session: Session) -> None:
    """Have the plan rest on the latest version from now on; runs may still have the other as their own."""
    followed = latest.to_json(known["bundle_version"], is_latest=True)
    versions = [followed]
    for item in plan.dag_versions:
        if item is not known:
            versions.append(dict(item))
        elif known["id"] != followed["id"] and _is_used(plan, UUID(known["id"]), session):
            kept = {name: value for name, value in known.items() if name != "structure"}
            versions.append({**kept, "bundle_version": None})
    session.execute(update(plan_table).where(plan_table.c.id == UUID(plan.id)).values(dag_versions=versions))


def _is_used(plan: PlanSummary, version: UUID, session: Session) -> bool:
    used = select(plan_run.c.run_id).where(_is_left(plan), plan_run.c.uses_dag_version_id == version)
    return session.execute(used.limit(1)).first() is not None
