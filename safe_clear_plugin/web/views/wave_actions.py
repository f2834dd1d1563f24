"""The requests about the waves of a clear in progress: going on, and changing them."""

from __future__ import annotations

from typing import Any

from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services.clear.waves import NewWaves, change_waves, continue_plan
from safe_clear_plugin.web.api.request_reader import read_body
from safe_clear_plugin.web.api.wave_bodies import ContinueRequest, WavesChange
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.views import actions


def go_on(plan: PlanSummary) -> Any:
    """Go on with a clear that waits for a person."""
    sent = read_body(ContinueRequest)
    plan = continue_plan(
        plan,
        caller().actor,
        utcnow(),
        skip_failed=sent.skip_failed,
        change=NewWaves(sent.waves.waves()) if sent.waves else None,
        reason=sent.reason or "",
    )
    return actions.clear_answer(plan)


def change(plan: PlanSummary) -> Any:
    """Change the waves of a clear in progress."""
    sent = read_body(WavesChange)
    plan = change_waves(
        plan, NewWaves(sent.waves.waves()), caller().actor, utcnow(), reason=sent.reason or ""
    )
    return actions.clear_answer(plan)
