"""From a selection to a stored plan. Reads Airflow's tables, writes only Safe Clear's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth.teams import live_teams
from safe_clear_plugin.airflow_api.dag import dag_versions, version_change
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.airflow_api.scheduling.integrity import Checked
from safe_clear_plugin.core import selection_rules
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary, StateChange, fingerprint
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.findings.collection import CheckedPlan, check_plan
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.services import retention
from safe_clear_plugin.services.planning import shapes, task_matching
from safe_clear_plugin.services.planning.resolution import Resolution, resolve
from safe_clear_plugin.services.planning.time_limit import preview_time
from safe_clear_plugin.storage.findings import task_relations
from safe_clear_plugin.storage.plans import (
    companion_writer,
    plan_reader,
    plan_writer,
    scheduler_rows,
    statistics,
)
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance


def make_plan(
    selection: Selection,
    actor: Actor,
    now: datetime,
    *,
    reason: str = "",
) -> PlanSummary:
    """Resolve a selection, store the plan, and return it.

    ``reason`` is what the form to confirm it starts with.

    :raises Invalid: with problems at their fields, and nothing written
    :raises Refused: 409 when this Airflow's tables are not known; where only its version is not, the plan is
        made, and cannot be confirmed. 503 when it takes longer than it may, and nothing written
    """
    compatibility.require_known_tables()
    if problems := list(selection_rules.check(selection)):
        raise Invalid(*problems)
    pattern = task_matching.compile_regex(selection.task_regex)
    with new_session() as session, preview_time(session):
        # All that can be, before the first row is written: from then on SQLite lets nobody else write.
        resolved = resolve(selection, pattern, session)
        plan_id = uuid4()
        head = _head(plan_id, resolved, actor, now, session)
        plan_writer.insert_plan({**head, "reason": reason}, session)
        known = _write_rows(plan_id, resolved, session)
        plan_context = _context(plan_id, resolved, actor, now, session)
        if not plan_context.task_instances:
            raise Invalid(_nothing_to_clear(selection, plan_context.changes))
        _finish(plan_context, resolved, check_plan(plan_context))
        plan = plan_reader.get(plan_id, session)
    assert plan is not None
    if not known:
        with new_session() as session:
            statistics.refresh(plan, session)
    retention.clean_up_beside(now)
    return plan


def _head(
    plan_id: UUID, resolved: Resolution, actor: Actor, now: datetime, session: Session
) -> Mapping[str, Any]:
    selection = resolved.selection
    return {
        "id": plan_id,
        "dag_id": selection.dag_id,
        "team_name": live_teams([selection.dag_id], session).get(selection.dag_id),
        "status": "ready",
        "selection": selection.to_json(),
        "run_on_latest_version": resolved.on_latest,
        "dag_versions": [],
        "findings": [],
        "fingerprint": "",
        "task_instances": 0,
        "dag_runs": 0,
        "created_by": actor.id,
        "created_by_name": actor.name,
        "created_at": now,
        "expires_at": now + timedelta(minutes=config.plan_ttl_minutes()),
    }


def _write_rows(plan_id: UUID, resolved: Resolution, session: Session) -> bool:
    """Write the plan's dag runs and task instances; return whether PostgreSQL knows how many they are."""
    numbers = resolved.shapes.numbers
    runs_written = plan_writer.insert_runs(
        plan_id, resolved.scope, resolved.on_latest, resolved.target, session, shapes=numbers
    )
    _add_strays(plan_id, resolved, session)
    tasks = plan_writer.insert_tasks(plan_id, shapes.rows(resolved.shapes), session)
    joined = runs_written * max(1, tasks)
    known = statistics.refresh_within(joined, statistics.OF_SELECTION, session)
    written = plan_writer.insert_task_instances(
        plan_id, resolved.selection, resolved.latest.id, session, known=known
    )
    if resolved.selection.adds_setups:
        written += _add_companions(plan_id, resolved, session, known=known)
    known = statistics.refresh_within(written, (plan_task_instance,), session) and known
    plan_writer.count_task_instances_per_run(plan_id, runs_written, session)
    # Once more: what is cleared in each run is known only now.
    known = statistics.refresh_within(written, (plan_run,), session) and known
    if resolved.selection.reset_dag_runs:
        _add_moves(plan_id, resolved.latest, session)
    checked = Checked(scheduler_rows.tables(plan_id), resolved.selection.dag_id, resolved.latest)
    scheduler_rows.add(checked, resolved.selection.reset_dag_runs, session)
    return known


def _add_companions(plan_id: UUID, resolved: Resolution, session: Session, *, known: bool) -> int:
    """Write the setups and teardowns of what is cleared that a state filter has left out; return how many."""
    relations = shapes.serving(resolved.shapes)
    if not task_relations.write_relations(plan_id, relations, session):
        return 0
    return companion_writer.insert_companions(
        plan_id, resolved.selection, resolved.latest.id, session, known=known
    )


def _add_strays(plan_id: UUID, resolved: Resolution, session: Session) -> None:
    """Take in the runs that came with another DAG version while the others were looked at."""
    if ids := plan_writer.versions_without_shape(plan_id, session):
        resolved.add(dag_versions.load_versions(ids, session))
        numbers = resolved.shapes.numbers
        plan_writer.give_shapes(plan_id, {id_: numbers[id_] for id_ in ids}, session)


def _context(
    plan_id: UUID, resolved: Resolution, actor: Actor, now: datetime, session: Session
) -> PlanContext:
    task_instances, dag_runs = plan_writer.totals(plan_id, session)
    return PlanContext(
        plan_id=plan_id,
        selection=resolved.selection,
        scope=resolved.scope,
        latest=resolved.latest,
        versions=resolved.versions,
        on_latest=resolved.on_latest,
        shapes=list(resolved.shapes),
        changes=plan_reader.state_changes(plan_id, session),
        run_changes=plan_reader.run_state_changes(plan_id, session),
        task_instances=task_instances,
        dag_runs=dag_runs,
        actor=actor,
        now=now,
        session=session,
    )


def _finish(plan: PlanContext, resolved: Resolution, checked: CheckedPlan) -> None:
    latest, bundle = plan.latest.id, resolved.target.bundle_version
    used = [version.to_json(bundle if id_ == latest else None) for id_, version in plan.versions.items()]
    outcomes = plan_reader.outcomes(plan.plan_id, plan.session)
    promised = (plan.plan_id, plan.selection.to_json(), plan.on_latest, used, plan.actor.id, outcomes)
    plan_writer.finish(
        plan.plan_id,
        {
            "task_instances": plan.task_instances,
            "dag_runs": plan.dag_runs,
            "dag_versions": used,
            "findings": [finding.to_json() for finding in checked.findings],
            "findings_not_checked": list(checked.not_checked),
            "outcomes": outcomes,
            "estimate": checked.estimate.to_json() if checked.estimate else None,
            "fingerprint": fingerprint(promised, plan.changes, plan.run_changes),
        },
        plan.session,
    )


def _add_moves(plan_id: UUID, latest: dag_versions.Version, session: Session) -> None:
    for run_id, run_pk in plan_writer.moving_runs(plan_id, session):
        cleared = plan_writer.cleared_states(plan_id, run_id, session)
        moves = list(version_change.predict(run_pk, latest, cleared, session))
        plan_writer.apply_moves(
            plan_id,
            run_id,
            moves,
            cleared=cleared,
            latest=latest.id,
            pins=dag_versions.VERSIONLESS_RUNS_MOVE,
            session=session,
        )


def _nothing_to_clear(selection: Selection, changes: Sequence[StateChange]) -> Problem:
    left_out = sum(change.count for change in changes if change.effect == "leave_out")
    if left_out:
        return Problem(
            f"All matching task instances are running, so they are left out ({left_out:,}).",
            "Wait until they finish, or choose “Terminate” under “Running task instances”.",
            "running",
        )
    return Problem(
        "No task instance in the selected runs matches.",
        "Select more states or map indexes, or exclude fewer tasks.",
        "state" if selection.state else "task_regex",
    )
