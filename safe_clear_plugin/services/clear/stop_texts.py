"""Why a clear stops, in words: one function for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.drift import DriftedRow
from safe_clear_plugin.core.mismatch import Mismatch
from safe_clear_plugin.core.plan_text import count
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


def interrupted() -> StopReason:
    """Say that nobody sent the next batch."""
    return StopReason(
        StopKind.INTERRUPTED,
        "The clear was interrupted.",
        "Each dag run was cleared completely or not at all.",
    )


def drift(rows: Sequence[DriftedRow], total: int) -> StopReason:
    """Say what changed after the preview, under way."""
    return StopReason(
        StopKind.DRIFT,
        f"{count(total, 'item')} changed while the plan was being applied.",
        "Earlier batches stay cleared. Continue without the changed runs, or undo.",
        moved=_records(rows),
        total=total,
    )


def stale(rows: Sequence[DriftedRow], total: int) -> StopReason:
    """Say what changed after the preview, before anything was cleared."""
    return StopReason(StopKind.DRIFT, moved=_records(rows), total=total)


def mismatch(found: Sequence[Mismatch]) -> StopReason:
    """Say what Airflow's clear did otherwise than planned."""
    return StopReason(
        StopKind.MISMATCH,
        "The result of Airflow's clear differs from the plan, so this batch was rolled back.",
        "Preview the same selection again. If it stops again, report the rows below.",
        mismatches=tuple(str(one) for one in found[:MAX_MISMATCHES]),
        total=len(found),
    )


def airflow_changed(kind: StopKind, problem: Problem) -> StopReason:
    """Say that Airflow, or its database, is another one than when the clear began."""
    return StopReason(kind, problem.reason, problem.remedy)


def failure(kind: StopKind, error: Exception, plan_id: UUID) -> StopReason:
    """Say what an error means, and log it."""
    outcome = "The current batch was rolled back. Earlier batches stay cleared. You can resume the plan."
    found = failures.explain(error, f"clearing plan {plan_id.hex}", outcome)
    return StopReason(kind, found.reason, found.remedy, code=found.code, error_id=found.error_id)


def _records(rows: Sequence[DriftedRow]) -> tuple[DriftRecord, ...]:
    return tuple(DriftRecord(**row.to_json()) for row in rows)
