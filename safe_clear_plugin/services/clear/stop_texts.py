"""Why a clear stops, in words: one function for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag import version_history
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.drift import DriftedRow
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.mismatch import Mismatch
from safe_clear_plugin.core.plan_text import REMEDY_FOR_PARSES
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.stop_reason import DriftRecord, StopKind, StopReason
from safe_clear_plugin.services import failures

MAX_MISMATCHES = 50
"""Rows that differ which a plan keeps."""


def by_person(actor: Actor) -> StopReason:
    """Say that somebody stopped it."""
    return StopReason(
        StopKind.STOPPED,
        f"Stopped by {actor.name}.",
        "Each dag run was cleared completely or not at all. You can resume, undo, or leave it.",
        by=actor.name,
    )


def not_begun() -> StopReason:
    """Say that a plan of a change set was not begun, because a plan before it stopped.

    The text names no other DAG, because a reader of this plan may not be allowed to see that DAG.
    """
    return StopReason(
        StopKind.NOT_BEGUN,
        "Not begun: a plan before it in the change set stopped.",
        "Nothing was cleared here. Continue the change set, or leave it.",
    )


def drift(rows: Sequence[DriftedRow], total: int, cause: str) -> StopReason:
    """Say what changed during the clear, with the ``cause`` if it is known."""
    return StopReason(
        StopKind.DRIFT,
        f"{count(total, 'item')} changed while the plan was being applied.",
        f"Earlier batches stay cleared. Continue without the changed runs, or undo. {cause}".strip(),
        moved=_records(rows),
        total=total,
    )


def stale(rows: Sequence[DriftedRow], total: int, cause: str) -> StopReason:
    """Say what changed after the preview, before anything was cleared."""
    return StopReason(StopKind.DRIFT, remedy=cause, moved=_records(rows), total=total)


def cause_of_drift(rows: Sequence[DriftedRow], dag_id: str, session: Session) -> str:
    """Return why a DAG version drifted that will drift again; nothing of any other drift."""
    if not any(row.what == "dag_version" for row in rows):
        return ""
    number = version_history.gets_version_at_each_parse(dag_id, session)
    if not number:
        return ""
    return f"{dag_id} gets a new Dag version at each parse: it has {number:,}. {REMEDY_FOR_PARSES}"


def mismatch(found: Sequence[Mismatch]) -> StopReason:
    """Say what Airflow's clear did otherwise than planned."""
    return StopReason(
        StopKind.MISMATCH,
        "The result of Airflow's clear differs from the plan, so this batch was rolled back.",
        "Preview the same selection again. If it stops again, report the rows below.",
        mismatches=tuple(str(one) for one in found[:MAX_MISMATCHES]),
        total=len(found),
    )


def not_as_before() -> StopReason:
    """Say that an undo put rows back otherwise than they were."""
    return StopReason(
        StopKind.MISMATCH,
        "Some rows were not restored exactly, so this part of the undo was rolled back.",
        "Please report this. The api-server's log names the rows.",
    )


def airflow_changed(kind: StopKind, problem: Problem) -> StopReason:
    """Say that Airflow, or its database, is another one than when the clear began."""
    return StopReason(kind, problem.reason, problem.remedy)


def failure(kind: StopKind, error: Exception, plan_id: UUID) -> StopReason:
    """Say what an error means, and log it."""
    outcome = "The current batch was rolled back. Earlier batches stay cleared. You can resume the plan."
    return _failure(kind, error, f"clearing plan {plan_id.hex}", outcome)


def undo_failure(error: Exception, plan_id: UUID) -> StopReason:
    """Say what an error means that ended an undo, and log it."""
    outcome = "This part of the undo was rolled back. Earlier parts stay restored. You can undo the rest."
    return _failure(StopKind.ERROR, error, f"undoing plan {plan_id.hex}", outcome)


def _failure(kind: StopKind, error: Exception, doing: str, outcome: str) -> StopReason:
    found = failures.explain(error, doing, outcome)
    return StopReason(kind, found.reason, found.remedy, code=found.code, error_id=found.error_id)


def _records(rows: Sequence[DriftedRow]) -> tuple[DriftRecord, ...]:
    return tuple(DriftRecord(**row.to_json()) for row in rows)
