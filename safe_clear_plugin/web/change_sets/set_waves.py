"""The part of a change set's page about its waves."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.waves import RunCounts
from safe_clear_plugin.services.change_sets.waves import set_wave_progress
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.waves.waves_part import Addresses, WavesPart, pace_of, waves_part


def set_waves_context(of: ChangeSet, session: Session) -> dict[str, Any]:
    """Return what the template says of the set's waves."""
    if not of.paced_plan.goes_in_waves:
        return {"waves": None, "pace": None}
    return {"waves": _part(of, session), "pace": pace_of(of.paced_plan)}


def _part(of: ChangeSet, session: Session) -> WavesPart:
    found = set_wave_progress(of, session)
    addresses = Addresses(
        page=templating.url("change_set", set_id=of.id),
        progress=templating.url("change_set_progress", set_id=of.id),
        go_on=templating.url("continue_change_set", set_id=of.id),
        stop=templating.url("stop_change_set", set_id=of.id),
        undo=templating.url("change_set_undo_preview", set_id=of.id),
        change=templating.url("change_set_waves", set_id=of.id),
    )
    return waves_part(of.paced_plan, found.counts if found else RunCounts(), addresses, [])
