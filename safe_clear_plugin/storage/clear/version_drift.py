"""Drift of DAG versions: runs that would use another one now, and versions that were rewritten in place.

If everything that the plan rests on is the same in a new version, that is no drift: the plan follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import (
    Version,
    bundle_version_of,
    changed_versions,
    latest_version,
    latest_version_id,
    load_versions,
    unchanged_versions,
    version_numbers,
)
from safe_clear_plugin.airflow_api.dag.run_versions import uses_version
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.core.drift import CHANGED_OR_GONE, DriftCode, DriftedRow
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.clear import version_follow
from safe_clear_plugin.storage.clear.version_differences import drifted_attributes
from safe_clear_plugin.storage.rows import is_planned_run, of_plan
from safe_clear_plugin.storage.tables import plan as plan_table
from safe_clear_plugin.storage.tables import plan_run


@dataclass(frozen=True, slots=True)
class _Changes:
    """Differences in the DAG versions that a plan uses, by their ids and hashes."""

    others: Sequence[Any]
    """From which version to which other one runs would go now, with the number of these."""
    rewritten: Sequence[Any]
    """The plan's versions that have another hash, or are gone."""
    numbers: dict[UUID, int]

    def __bool__(self) -> bool:
        return bool(self.others or self.rewritten)

    def are_of(self, before: UUID, now: UUID) -> bool:
        """Whether all of it is that one version was rewritten, or is followed by the other."""
        moves = {(row.before, row.now) for row in self.others}
        rewritten = {UUID(item["id"]) for item in self.rewritten}
        return moves <= {(before, now)} and rewritten <= {before}

    def rows(self, dag_id: str) -> Iterator[DriftedRow]:
        """Yield each as a drift."""
        for row in self.others:
            before, now = (f"version {self.numbers.get(id_, '?')}" for id_ in (row.before, row.now))
            code = DriftCode.NEW_DAG_VERSION
            yield DriftedRow("dag_version", code, before, now, dag_id=dag_id, runs=row.n)
        for item in self.rewritten:
            before, code = f"version {item['number']}", DriftCode.DAG_CHANGED
            yield DriftedRow("dag_version", code, before, CHANGED_OR_GONE, dag_id=dag_id)


def unchanged(plan: PlanSummary) -> ColumnElement[int]:
    """Return how many of the plan's DAG versions are as the preview found them."""
    return unchanged_versions(plan.dag_versions)


def drifted_runs(plan: PlanSummary, run_ids: Sequence[str] | None) -> list[Select[Any]]:
    """Return queries on runs that can have drifted; none does if they and :func:`unchanged` find nothing."""
    queries = [_runs_of_other_versions(plan, run_ids).with_only_columns(plan_run.c.run_id)]
    return [*queries, _moving_runs(plan, run_ids)] if _bundle_versions(plan) else queries


def follow_or_find(plan: PlanSummary, run_ids: Sequence[str] | None, session: Session) -> list[DriftedRow]:
    """Return the DAG versions that differ from the preview, for ``run_ids`` only, if given.

    If everything that the plan rests on is the same in a version, all uncleared runs of the plan follow that
    version instead.
    """
    plan = _as_stored(plan, session)
    changes = _changes(plan, run_ids, session)
    found = _follow(plan, changes, session) if changes else []
    return [*found, *_other_bundle(plan, run_ids, session)]


def has_changed(plan: PlanSummary, run_ids: Sequence[str], session: Session) -> bool:
    """Whether these runs would use another DAG version now, or one was rewritten, be it followed or not."""
    return bool(_changes(_as_stored(plan, session), run_ids, session))


def _as_stored(plan: PlanSummary, session: Session) -> PlanSummary:
    """Return the plan with the versions that it rests on now: it may have followed one since it was read."""
    stored = session.scalar(select(plan_table.c.dag_versions).where(plan_table.c.id == UUID(plan.id)))
    return replace(plan, dag_versions=tuple(stored or ()))


def find_dag_gone(plan: PlanSummary, session: Session) -> DriftedRow | None:
    """Return the drift of a DAG that has no serialized version any more."""
    if latest_version_id(plan.dag_id, session) is not None:
        return None
    return DriftedRow("dag_version", DriftCode.DAG_GONE, "serialized", "none", dag_id=plan.dag_id)


def _follow(plan: PlanSummary, changes: _Changes, session: Session) -> list[DriftedRow]:
    """Follow the latest version, or return in what it differs."""
    known = next((item for item in plan.dag_versions if "structure" in item), None)
    latest = _latest(plan.dag_id, session)
    if known is None or latest is None or not changes.are_of(UUID(known["id"]), latest.id):
        return list(changes.rows(plan.dag_id))
    differing = drifted_attributes(plan, known["structure"], latest, session)
    differing = differing or version_follow.follow(plan, known, latest, session)
    return [*changes.rows(plan.dag_id), *differing] if differing else []


def _latest(dag_id: str, session: Session) -> Version | None:
    id_ = latest_version_id(dag_id, session)
    found = load_versions([id_], session).get(id_) if id_ else None
    return found if found is not None and found.dag is not None else None


def _changes(plan: PlanSummary, run_ids: Sequence[str] | None, session: Session) -> _Changes:
    others = _runs_of_other_versions(plan, run_ids).subquery().c
    moved = session.execute(
        select(others.uses_dag_version_id.label("before"), others.now, func.count().label("n")).group_by(
            others.uses_dag_version_id, others.now
        )
    ).all()
    numbers = version_numbers({id_ for row in moved for id_ in (row.before, row.now)}, session)
    return _Changes(moved, changed_versions(plan.dag_versions, session), numbers)


def _runs_of_other_versions(plan: PlanSummary, run_ids: Sequence[str] | None) -> Select[Any]:
    """Select the runs that would use another DAG version now."""
    uses = uses_version(plan.run_on_latest_version, latest_version(plan.dag_id))
    plan_id = UUID(plan.id)
    same_run = and_(dag_run.c.id == plan_run.c.dag_run_id, is_planned_run(dag_run, plan_id, run_ids))
    return (
        select(plan_run.c.uses_dag_version_id, uses.label("now"))
        .select_from(plan_run.join(dag_run, same_run))
        .where(of_plan(plan_run, plan_id, run_ids), uses != plan_run.c.uses_dag_version_id)
    )


def _bundle_versions(plan: PlanSummary) -> set[str]:
    """Return the bundle version that the plan's runs can move to, if there is one."""
    return {item["bundle_version"] for item in plan.dag_versions if item["bundle_version"]}


def _other_bundle(plan: PlanSummary, run_ids: Sequence[str] | None, session: Session) -> Iterator[DriftedRow]:
    """Yield the bundle version that runs were to move to, if the DAG was parsed from another one since."""
    planned = _bundle_versions(plan)
    now = bundle_version_of(plan.dag_id, session) if planned else None
    if planned <= {now} or session.execute(_moving_runs(plan, run_ids).limit(1)).one_or_none() is None:
        return
    before = ", ".join(sorted(planned))
    code = DriftCode.NEW_BUNDLE_VERSION
    yield DriftedRow("dag_version", code, f"bundle {before}", f"bundle {now}", dag_id=plan.dag_id)


def _moving_runs(plan: PlanSummary, run_ids: Sequence[str] | None) -> Select[Any]:
    return select(plan_run.c.run_id).where(
        of_plan(plan_run, UUID(plan.id), run_ids), plan_run.c.moves_to_latest
    )
