"""A row of the plan table as a plan."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import Row, Select, case, select

from safe_clear_plugin.core.estimate import Estimate
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.stop_reason import read_problem
from safe_clear_plugin.core.waves import WaveReason, Waves, WaveState
from safe_clear_plugin.storage.driver.leases import is_missed
from safe_clear_plugin.storage.tables import plan

FIELDS = frozenset(field.name for field in fields(PlanSummary))
"""The other fields are columns of the same name."""


def select_plans() -> Select[Any]:
    """Select plans with what :func:`summary` needs."""
    return select(plan, case((is_missed(), 1), else_=0).label("is_missed"))


def summary(row: Row[Any]) -> PlanSummary:
    """Return a row of :func:`select_plans` as a plan."""
    stop_reason, left_out = read_problem(row.problem)
    read: dict[str, Any] = {
        "id": row.id.hex,
        "status": PlanStatus(row.status),
        "selection": Selection.from_json(row.selection),
        "dag_versions": tuple(row.dag_versions),
        "findings": tuple(Finding.from_json(item) for item in row.findings),
        "findings_not_checked": tuple(row.findings_not_checked or ()),
        "outcomes": row.outcomes or {},
        "stop_reason": stop_reason,
        "left_out": left_out,
        "estimate": Estimate.from_json(row.estimate) if row.estimate else None,
        "acknowledged": tuple(row.acknowledged or ()),
        "request_reason": row.request_reason or "",
        "waves": Waves.from_json(row.waves) if row.waves else None,
        "wave_state": WaveState(row.wave_state) if row.wave_state else None,
        "wave_reason": WaveReason(row.wave_reason) if row.wave_reason else None,
        "change_set_id": row.change_set_id.hex if row.change_set_id else None,
        "position": row.position or 0,
        "is_interrupted": bool(row.is_missed),
    }
    return PlanSummary(**read, **{name: getattr(row, name) for name in FIELDS - read.keys()})
