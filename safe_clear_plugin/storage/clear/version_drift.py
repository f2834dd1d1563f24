"""Drift of DAG versions: runs that would use another one now, and versions that were rewritten in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_versions import (
    bundle_version_of,
    changed_versions,
    latest_version,
    latest_version_id,
    unchanged_versions,
    version_numbers,
)
from safe_clear_plugin.airflow_api.dag.run_versions import uses_version
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.core.drift import CHANGED_OR_GONE, DriftCode, DriftedRow
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.storage.rows import of_plan
from safe_clear_plugin.storage.tables import plan_run


def unchanged(plan: PlanSummary) -> ColumnElement[int]:
    """Return how many of the plan's DAG versions are as the preview found them."""
    return unchanged_versions(plan.dag_versions)


def drifted_runs(plan: PlanSummary, run_ids: Sequence[str] | None) -> list[Select[Any]]:
    """Return queries on runs that can have drifted; none does if they and :func:`unchanged` find nothing."""
    queries = [_runs_of_other_versions(plan, run_ids).with_only_columns(plan_run.c.run_id)]
    return [*queries, _moving_runs(plan, run_ids)] if _bundle_versions(plan) else queries


def find(plan: PlanSummary, run_ids: Sequence[str] | None, session: Session) -> list[DriftedRow]:
    """Return the DAG versions that differ from the preview, for ``run_ids`` only, if given."""
    return [
        *_other_versions(plan, run_ids, session),
        *_other_bundle(plan, run_ids, session),
        *_rewritten(plan, session),
    ]


def find_dag_gone(plan: PlanSummary, session: Session) -> DriftedRow | None:
    """Return the drift of a DAG that has no serialized version any more."""
    if latest_version_id(plan.dag_id, session) is not None:
        return None
    return DriftedRow("dag_version", DriftCode.DAG_GONE, "serialized", "none", dag_id=plan.dag_id)


def _runs_of_other_versions(plan: PlanSummary, run_ids: Sequence[str] | None) -> Select[Any]:
    """Select the runs that would use another DAG version now."""
    uses = uses_version(plan.run_on_latest_version, latest_version(plan.dag_id))
    return (
        select(plan_run.c.uses_dag_version_id, uses.label("now"))
        .join(dag_run, dag_run.c.id == plan_run.c.dag_run_id)
        .where(of_plan(plan_run, UUID(plan.id), run_ids), uses != plan_run.c.uses_dag_version_id)
    )


def _other_versions(
    plan: PlanSummary, run_ids: Sequence[str] | None, session: Session
) -> Iterator[DriftedRow]:
    others = _runs_of_other_versions(plan, run_ids).subquery().c
    changed = session.execute(
        select(others.uses_dag_version_id, others.now, func.count().label("n")).group_by(
            others.uses_dag_version_id, others.now
        )
    ).all()
    numbers = version_numbers({id_ for row in changed for id_ in (row[0], row.now)}, session)
    for row in changed:
        yield DriftedRow(
            "dag_version",
            DriftCode.NEW_DAG_VERSION,
            f"version {numbers.get(row[0], '?')}",
            f"version {numbers.get(row.now, '?')}",
            dag_id=plan.dag_id,
            runs=row.n,
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


def _rewritten(plan: PlanSummary, session: Session) -> Iterator[DriftedRow]:
    for item in changed_versions(plan.dag_versions, session):
        before, code = f"version {item['number']}", DriftCode.DAG_CHANGED
        yield DriftedRow("dag_version", code, before, CHANGED_OR_GONE, dag_id=plan.dag_id)
