"""Runs that an undo has left out because the database did not restore them in time, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, null, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.key_table import is_named
from safe_clear_plugin.airflow_api.platform.session import count_written
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.stop_reason import EARLIER, UNDO_KEY
from safe_clear_plugin.storage.driver.leases import AT_REST
from safe_clear_plugin.storage.plan_lock import take_plan
from safe_clear_plugin.storage.rows import RUN_ORDER
from safe_clear_plugin.storage.tables import plan, plan_run

LISTED = 20
"""Runs that are named where an undo was given up; it may have left thousands."""


def run_ids_of(summary: PlanSummary) -> list[str]:
    """Return the runs that an undo of the plan has left out; they are not undone."""
    return list(summary.left_out.run_ids) if summary.left_out else []


def record(plan_id: UUID, run_id: str, why: Mapping[str, Any], session: Session) -> None:
    """Withdraw the request to undo a run, and store the reason."""
    withdraw_requests(plan_id, [run_id], session)
    problem = _problem(plan_id, session)
    run_ids = dict.fromkeys([*_of(problem).get("run_ids", ()), run_id])
    _write({**problem, UNDO_KEY: {**why, "run_ids": list(run_ids)}}, plan_id, session)


def give_up(plan_id: UUID, why: Mapping[str, Any], session: Session) -> None:
    """End the undo: withdraw what it has not reached, and store the reason."""
    left = list(session.scalars(select(plan_run.c.run_id).where(_is_open(plan_id)).order_by(*RUN_ORDER)))
    withdraw_all(plan_id, session)
    found = {**why, "run_ids": left[:LISTED], "total": len(left)}
    _write({**_problem(plan_id, session), UNDO_KEY: found}, plan_id, session)


def begin_undo(plan_id: UUID, asked: int, session: Session) -> None:
    """Mark the runs that an earlier undo left out, when a new undo of ``asked`` runs begins.

    The reason why the earlier undo was given up is removed. If runs are added to an undo in progress, nothing
    changes.
    """
    if was_under_way(plan_id, asked, session):
        return
    problem = _problem(plan_id, session)
    found = _of(problem)
    rest = {key: value for key, value in problem.items() if key != UNDO_KEY}
    if found.get("total"):
        _write(rest, plan_id, session)
    elif found:
        _write({**rest, UNDO_KEY: {**found, EARLIER: True}}, plan_id, session)


def was_under_way(plan_id: UUID, asked: int, session: Session) -> bool:
    """Whether an undo of the plan was in progress before the last ``asked`` runs were requested."""
    before = plan.c.undo_asked_runs - asked
    return bool(session.scalar(select(before > plan.c.undone_runs).where(plan.c.id == plan_id)))


def remove(plan_id: UUID, run_ids: Sequence[str], session: Session) -> None:
    """Remove runs that have been undone after all; the plan's row is locked."""
    problem = _problem(plan_id, session)
    found = dict(_of(problem))
    found["run_ids"] = [run_id for run_id in found.get("run_ids", ()) if run_id not in set(run_ids)]
    rest = {key: value for key, value in problem.items() if key != UNDO_KEY}
    _write({**rest, UNDO_KEY: found} if found["run_ids"] else rest, plan_id, session)


def withdraw_requests(plan_id: UUID, run_ids: Sequence[str], session: Session) -> int:
    """Withdraw the request to undo runs that are not undone yet; it can be made again. Returns how many."""
    return _withdraw(plan_id, session, is_named(plan_run.c.run_id, run_ids))


def withdraw_all(plan_id: UUID, session: Session) -> bool:
    """Withdraw the request to undo all runs that are not undone yet. Return whether there were any."""
    fewer = _withdraw(plan_id, session)
    if fewer:
        session.execute(update(plan).where(plan.c.id == plan_id).values(**AT_REST))
    return fewer > 0


def _is_open(plan_id: UUID) -> ColumnElement[bool]:
    asked, undone = plan_run.c.undo_asked_at, plan_run.c.undone_at
    return and_(plan_run.c.plan_id == plan_id, asked.is_not(None), undone.is_(None))


def _withdraw(plan_id: UUID, session: Session, *conditions: ColumnElement[bool]) -> int:
    # The plan's row first, as every step does.
    take_plan(plan_id, session)
    asked = update(plan_run).where(_is_open(plan_id), *conditions)
    fewer = count_written(asked.values(undo_asked_at=None), session)
    session.execute(
        update(plan).where(plan.c.id == plan_id).values(undo_asked_runs=plan.c.undo_asked_runs - fewer)
    )
    return fewer


def _problem(plan_id: UUID, session: Session) -> dict[str, Any]:
    return session.scalar(select(plan.c.problem).where(plan.c.id == plan_id)) or {}


def _write(problem: dict[str, Any], plan_id: UUID, session: Session) -> None:
    session.execute(update(plan).where(plan.c.id == plan_id).values(problem=problem or null()))


def _of(problem: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (problem or {}).get(UNDO_KEY, {})
    return found
