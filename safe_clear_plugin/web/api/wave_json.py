"""Waves in JSON: as they were chosen, and how they stand."""

from __future__ import annotations

from typing import Any

from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.waves import RunCounts, Waves, WaveState
from safe_clear_plugin.services.clear.waves import WaveProgress


def waves_json(plan: PlanSummary, progress: WaveProgress | None) -> dict[str, Any] | None:
    """Return how a plan is paced and how it stands; ``None`` for all at once."""
    if not plan.goes_in_waves:
        return None
    is_applying = plan.status == PlanStatus.APPLYING
    return {
        **(plan.waves or Waves()).to_json(),
        "state": (plan.wave_state or WaveState.CLEARING) if is_applying else None,
        "reason": plan.wave_reason if plan.is_waiting_for_person else None,
        "runs": _runs(progress.counts) if progress else None,
    }


def _runs(counts: RunCounts) -> dict[str, int]:
    return {
        "done": counts.done,
        "running_again": counts.running_again,
        "failed": counts.failing + counts.failed,
        "waiting": counts.waiting,
        "untouched": counts.untouched,
        "undone": counts.undone,
        "skipped": counts.skipped,
        "unfinished": counts.unfinished,
    }
