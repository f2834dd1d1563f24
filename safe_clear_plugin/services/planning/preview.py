"""Makes a stored plan from a selection. Reads Airflow's tables, writes only Safe Clear's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth.teams import live_teams
from safe_clear_plugin.airflow_api.dag import dag_versions, version_change
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.airflow_api.scheduling.integrity import Checked
from safe_clear_plugin.core import selection_rules
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.plan import PlanSummary, fingerprint
from safe_clear_plugin.core.problems import Invalid, NothingMatches
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.findings.collection import CheckedPlan, check_plan
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.services import retention
from safe_clear_plugin.services.planning import nothing_matches, shapes, task_matching
from safe_clear_plugin.services.planning.related import add_related
from safe_clear_plugin.services.planning.resolution import Resolution, resolve
from safe_clear_plugin.services.time_limit import preview_time
from safe_clear_plugin.storage.plans import (
    plan_counts,
    plan_reader,
    plan_writer,
    scheduler_rows,
    statistics,
)
from safe_clear_plugin.storage.rows import plan_tables
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
    tasks = require_sound(selection)
    with new_session() as session, preview_time(session):
        # All that can be, before the first row is written: from then on SQLite lets nobody else write.
        resolved = resolve(selection, tasks, session)
        written = write_plan(resolved, actor, now, session, reason=reason)
    refresh_statistics([written])
    retention.clean_up_beside(now)
    return written.plan


def require_sound(selection: Selection) -> task_matching.TaskFilter:
    """Return what chooses the tasks, after the checks of the selection that don't need its DAG.

    :raises Invalid: with problems at their fields
    """
    if problems := list(selection_rules.check(selection)):
        raise Invalid(*problems)
    return task_matching.compile_filter(selection)


class WrittenPlan(NamedTuple):
    """A plan that was just written, and whether PostgreSQL knows its number of rows."""

    plan: PlanSummary
    is_known: bool


def write_plan(
    resolved: Resolution, actor: Actor, now: datetime, session: Session, *, reason: str, **more: Any
) -> WrittenPlan:
    """Write the plan of a resolved selection in the session's transaction; ``more`` are columns of its row.

    :raises NothingMatches: when nothing is cleared
    """
    plan_id = uuid4()
    head = _head(plan_id, resolved, actor, now, session)
    plan_writer.insert_plan({**head, "reason": reason, **more}, session)
    known, compared = _write_rows(plan_id, resolved, session)
    plan_context = _context(plan_id, resolved, actor, now, session, compares_versions=compared)
    if not plan_context.task_instances:
        left_out = plan_context.total(Effect.LEAVE_OUT)
        raise NothingMatches(nothing_matches.explain(resolved, left_out, session))
    _finish(plan_context, resolved, check_plan(plan_context))
    plan = plan_reader.get(plan_id, session)
    assert plan is not None
    return WrittenPlan(plan, known)


def refresh_statistics(written: Iterable[WrittenPlan]) -> None:
    """Refresh PostgreSQL's statistics for committed plans whose number of rows it does not know."""
    for plan, is_known in written:
        if not is_known:
            with new_session() as session:
                statistics.refresh(plan, session)


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


def _write_rows(plan_id: UUID, resolved: Resolution, session: Session) -> tuple[bool, bool]:
    """Write the plan's dag runs and task instances.

    Return whether PostgreSQL knows their number, and whether a change of the DAG may remove some of them.
    """
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
    written += add_related(plan_id, resolved, session, known=known)
    known = statistics.refresh_within(written, (plan_task_instance,), session) and known
    plan_writer.count_task_instances_per_run(plan_id, runs_written, session)
    # Once more: only now is it known which task instances each run has cleared.
    known = statistics.refresh_within(written, (plan_run,), session) and known
    if resolved.selection.reset_dag_runs:
        _add_moves(plan_id, resolved.latest, session)
    checked = Checked(plan_tables(plan_id), resolved.selection.dag_id, resolved.latest)
    compared = scheduler_rows.add(checked, resolved.selection.reset_dag_runs, session)
    return known, compared


def _add_strays(plan_id: UUID, resolved: Resolution, session: Session) -> None:
    """Take in the runs that came with another DAG version while the others were looked at."""
    if ids := plan_writer.versions_without_shape(plan_id, session):
        resolved.add(dag_versions.load_versions(ids, session))
        numbers = resolved.shapes.numbers
        plan_writer.give_shapes(plan_id, {id_: numbers[id_] for id_ in ids}, session)


def _context(
    plan_id: UUID,
    resolved: Resolution,
    actor: Actor,
    now: datetime,
    session: Session,
    *,
    compares_versions: bool,
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
        changes=plan_counts.state_changes(plan_id, session),
        run_changes=plan_counts.run_state_changes(plan_id, session),
        compares_versions=compares_versions,
        task_instances=task_instances,
        dag_runs=dag_runs,
        actor=actor,
        now=now,
        session=session,
    )


def _finish(plan: PlanContext, resolved: Resolution, checked: CheckedPlan) -> None:
    latest, bundle = plan.latest.id, resolved.target.bundle_version
    used = [
        version.to_json(bundle, is_latest=True) if id_ == latest else version.to_json()
        for id_, version in plan.versions.items()
    ]
    outcomes = plan_counts.outcomes(plan.plan_id, plan.session)
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
