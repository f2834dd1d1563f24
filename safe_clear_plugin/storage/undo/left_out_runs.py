"""Runs that an undo has left out because the database did not restore them in time, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import null, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.stop_reason import UNDO_KEY
from safe_clear_plugin.storage.tables import plan, plan_run


def run_ids_of(summary: PlanSummary) -> list[str]:
    """Return the runs that an undo of the plan has left out; they are not undone."""
    return list(summary.left_out.run_ids) if summary.left_out else []


def record(plan_id: UUID, run_id: str, why: Mapping[str, Any], session: Session) -> None:
    """Withdraw the request to undo a run, and store the reason."""
    withdraw_requests(plan_id, [run_id], session)
    problem = _problem(plan_id, session)
    run_ids = dict.fromkeys([*_of(problem).get("run_ids", ()), run_id])
    _write({**problem, UNDO_KEY: {**why, "run_ids": list(run_ids)}}, plan_id, session)


def remove(plan_id: UUID, run_ids: Sequence[str], session: Session) -> None:
    """Remove runs that have been undone after all; the plan's row is locked."""
    problem = _problem(plan_id, session)
    found = dict(_of(problem))
    found["run_ids"] = [run_id for run_id in found.get("run_ids", ()) if run_id not in set(run_ids)]
    rest = {key: value for key, value in problem.items() if key != UNDO_KEY}
    _write({**rest, UNDO_KEY: found} if found["run_ids"] else rest, plan_id, session)


def withdraw_requests(plan_id: UUID, run_ids: Sequence[str], session: Session) -> None:
    """Withdraw the request to undo runs that are not undone yet; it can be made again."""
    # The plan's row first, as every step does.
    session.execute(update(plan).where(plan.c.id == plan_id).values(status=plan.c.status))
    asked = update(plan_run).where(
        plan_run.c.plan_id == plan_id,
        plan_run.c.run_id.in_(run_ids),
        plan_run.c.undo_asked_at.is_not(None),
        plan_run.c.undone_at.is_(None),
    )
    fewer = count_written(asked.values(undo_asked_at=None), session)
    session.execute(
        update(plan).where(plan.c.id == plan_id).values(undo_asked_runs=plan.c.undo_asked_runs - fewer)
    )


def _problem(plan_id: UUID, session: Session) -> dict[str, Any]:
    return session.scalar(select(plan.c.problem).where(plan.c.id == plan_id)) or {}


def _write(problem: dict[str, Any], plan_id: UUID, session: Session) -> None:
    session.execute(update(plan).where(plan.c.id == plan_id).values(problem=problem or null()))


def _of(problem: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (problem or {}).get(UNDO_KEY, {})
    return found
