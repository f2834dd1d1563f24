"""From a selection to a stored plan. Reads Airflow's tables, writes only Safe Clear's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api import compatibility, dags, runs, settings, version_move
from safe_clear_plugin.airflow_api.audit import Actor
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.airflow_api.teams import live_teams
from safe_clear_plugin.core import policy, words
from safe_clear_plugin.core.findings import find
from safe_clear_plugin.core.plan import PlanSummary, StateChange, fingerprint
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.regex import Regex
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services import excluding, housekeeping, matching
from safe_clear_plugin.services.facts import PlanContext, gather
from safe_clear_plugin.services.scope import resolve_scope
from safe_clear_plugin.storage import reading, statistics, writing
from safe_clear_plugin.storage.models import plan_run, plan_task_instance


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
        made, and cannot be confirmed
    """
    compatibility.require_known_tables()
    if problems := list(policy.check(selection)):
        raise Invalid(*problems)
    pattern = matching.compile_regex(selection.task_regex)
    with new_session() as session:
        latest = _latest_version(selection.dag_id, session)
        scope = resolve_scope(selection, session)
        on_latest = dags.runs_on_latest(selection.run_on_latest_version, selection.dag_id, session)
        plan_id = uuid4()
        head = _head(plan_id, selection, on_latest, actor, now)
        team = live_teams([selection.dag_id], session).get(selection.dag_id)
        writing.insert_plan({**head, "reason": reason, "team_name": team}, session)
        target = _move_target(latest, session, selection)
        runs_written = writing.insert_runs(plan_id, scope, on_latest, target, session)
        versions = _used_versions(plan_id, latest, session)
        if not versions:
            raise Invalid(_no_runs(selection))
        excluding.require_known(selection, versions.values(), session)
        tasks = list(_taken_tasks(selection, pattern, versions, session))
        writing.insert_tasks(plan_id, tasks, session)
        joined = runs_written * max(1, len(tasks))
        known = statistics.refresh_within(joined, statistics.OF_SELECTION, session)
        written = writing.insert_task_instances(plan_id, selection, latest.id, session)
        known = statistics.refresh_within(written, (plan_task_instance,), session) and known
        writing.count_task_instances_per_run(plan_id, runs_written, session)
        # Once more: what is cleared in each run is known only now.
        known = statistics.refresh_within(written, (plan_run,), session) and known
        if selection.reset_dag_runs:
            _add_moves(plan_id, latest, session)
        task_instances, dag_runs = writing.totals(plan_id, session)
        changes = reading.state_changes(plan_id, session)
        run_changes = reading.run_state_changes(plan_id, session)
        if not task_instances:
            raise Invalid(_nothing_to_clear(selection, changes))
        facts = gather(
            PlanContext(
                plan_id=plan_id,
                selection=selection,
                scope=scope,
                latest=latest,
                versions=versions,
                on_latest=on_latest,
                tasks=tasks,
                changes=changes,
                run_changes=run_changes,
                task_instances=task_instances,
                dag_runs=dag_runs,
                actor=actor,
                now=now,
                session=session,
            )
        )
        used = [
            version.to_json(target.bundle_version if version.id == latest.id else None)
            for version in versions.values()
        ]
        promised = (plan_id, selection.to_json(), on_latest, used, actor.id)
        writing.finish(
            plan_id,
            {
                "task_instances": task_instances,
                "dag_runs": dag_runs,
                "dag_versions": used,
                "findings": [finding.to_json() for finding in find(facts)],
                "estimate": facts.cost.estimate.to_json() if facts.cost.estimate else None,
                "fingerprint": fingerprint(promised, changes, run_changes),
            },
            session,
        )
        plan = reading.get(plan_id, session)
    assert plan is not None
    with new_session() as session:
        if known:
            statistics.refresh_relations(written, session)
        else:
            statistics.refresh(plan, session)
    housekeeping.clean_up_beside(now)
    return plan


def _latest_version(dag_id: str, session: Session) -> dags.Version:
    if dags.get_dag_model(dag_id, session) is None:
        raise Invalid(Problem(f"There is no DAG {dag_id}.", "Choose one from the list.", "dag_id"))
    latest_id = dags.latest_version_id(dag_id, session)
    latest = dags.load_versions([latest_id], session).get(latest_id) if latest_id else None
    if latest is None or latest.dag is None:
        raise Invalid(
            Problem(
                f"{dag_id} has no serialized version.",
                "Wait until Airflow has parsed its file, or look at the DAG's import errors.",
                "dag_id",
            )
        )
    return latest


def _head(
    plan_id: UUID, selection: Selection, on_latest: bool, actor: Actor, now: datetime
) -> Mapping[str, Any]:
    return {
        "id": plan_id,
        "dag_id": selection.dag_id,
        "status": "ready",
        "selection": selection.to_json(),
        "run_on_latest_version": on_latest,
        "dag_versions": [],
        "findings": [],
        "fingerprint": "",
        "task_instances": 0,
        "dag_runs": 0,
        "created_by": actor.id,
        "created_by_name": actor.name,
        "created_at": now,
        "expires_at": now + timedelta(minutes=settings.plan_ttl_minutes()),
    }


def _move_target(latest: dags.Version, session: Session, selection: Selection) -> runs.LatestVersion:
    bundle = runs.bundle_version_of(selection.dag_id, session) if dags.has_bundle_versioning(latest) else None
    return runs.LatestVersion(latest.id, bundle)


def _used_versions(plan_id: UUID, latest: dags.Version, session: Session) -> dict[UUID, dags.Version]:
    ids = writing.used_versions(plan_id, session)
    loaded = dags.load_versions([id_ for id_ in ids if id_ != latest.id], session)
    return {id_: latest if id_ == latest.id else loaded[id_] for id_ in ids}


def _taken_tasks(
    selection: Selection,
    pattern: Regex,
    versions: Mapping[UUID, dags.Version],
    session: Session,
) -> Iterator[dict[str, Any]]:
    matched_any = False
    for version in versions.values():
        matched = matching.matched_tasks(pattern, version)
        matched_any = matched_any or bool(matched)
        retries = dags.retries(version)
        found = matching.markers(selection, matched, version, session)
        for (task_id, map_index), why in found.items():
            yield {
                "dag_version_id": version.id,
                "task_id": task_id,
                "map_index": map_index,
                "retries": retries[task_id],
                "why": why,
            }
    if selection.task_regex and not matched_any:
        raise Invalid(matching.no_match(selection, excluding.listed_tasks(versions.values())))


def _add_moves(plan_id: UUID, latest: dags.Version, session: Session) -> None:
    for run_id, run_pk in writing.moving_runs(plan_id, session):
        cleared = writing.cleared_states(plan_id, run_id, session)
        moves = list(version_move.predict(run_pk, latest, cleared, session))
        writing.apply_moves(
            plan_id,
            run_id,
            moves,
            cleared=cleared,
            latest=latest.id,
            pins=dags.VERSIONLESS_RUNS_MOVE,
            session=session,
        )


def _no_runs(selection: Selection) -> Problem:
    return Problem(
        f"No dag run of {selection.dag_id} is selected.",
        "Widen the dates, or loosen the filters on runs. A run without a logical date is found by its "
        "run_after, or by its run id.",
        "run_id" if selection.run_id and not selection.has_dates else "date_from",
    )


def _nothing_to_clear(selection: Selection, changes: list[StateChange]) -> Problem:
    left_out = sum(change.count for change in changes if change.effect == "leave_out")
    if left_out:
        return Problem(
            f"All that matches is running and left out: {words.count(left_out, 'task instance')}.",
            "Wait until they are done, or choose “Terminate” under “What runs now”.",
            "running",
        )
    return Problem(
        "The selected runs have no task instance that matches.",
        "Loosen the task instance states, the map index or the excluded tasks.",
        "state" if selection.state else "task_regex",
    )
