"""The part of a plan's page about its waves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.waves import FailedRun, RunCounts, Waves, WaveState
from safe_clear_plugin.services.clear.waves import wave_progress
from safe_clear_plugin.web.app import links, state_labels, templating
from safe_clear_plugin.web.waves import wave_text
from safe_clear_plugin.web.waves.waves_form import PaceFields, form_of


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses for a clear in waves."""

    page: str
    progress: str
    go_on: str
    stop: str
    undo: str
    change: str


@dataclass(frozen=True, slots=True)
class WavesPart:
    """The state of a plan's, or a change set's, runs in waves."""

    at: Addresses

    state: str | None
    is_live: bool
    """Whether the plan is being cleared."""
    settings: str
    is_paced: bool
    """Whether the waves set any limit."""
    strip: list[wave_text.Part]
    shares: list[state_labels.Share]
    tag: str
    """The current step of the clear, in a word or two."""
    text: str
    question: str
    """The question to a person, if there is one."""
    failed: list[tuple[FailedRun, str]]
    """The first runs that failed, each with its address in Airflow."""
    failed_total: int
    has_failures: bool
    """Whether going on takes a word about the failed runs."""


def waves_context(plan: PlanSummary, session: Session) -> dict[str, Any]:
    """Return what the template says of the plan's waves."""
    if not plan.goes_in_waves:
        return {"waves": None, "pace": None}
    found = wave_progress(plan, session, named=True)
    failed = [
        (run, links.airflow_url("dags", plan.dag_id, "runs", run.run_id))
        for run in (found.failed if found else ())
    ]
    addresses = Addresses(
        page=templating.url("plan", plan_id=plan.id),
        progress=templating.url("progress", plan_id=plan.id),
        go_on=(
            templating.url("continue_change_set", set_id=plan.change_set_id)
            if plan.change_set_id
            else templating.url("go_on", plan_id=plan.id)
        ),
        stop=templating.url("stop", plan_id=plan.id),
        undo=templating.url("undo_preview", plan_id=plan.id),
        change=(
            templating.url("change_set_waves", set_id=plan.change_set_id)
            if plan.change_set_id
            else templating.url("change_waves", plan_id=plan.id)
        ),
    )
    return {
        "waves": waves_part(plan, found.counts if found else RunCounts(), addresses, failed),
        "pace": pace_of(plan),
    }


def pace_of(plan: PlanSummary) -> PaceFields:
    """Return the fields that change the waves of a plan, or of its set, in progress."""
    return PaceFields(form_of(plan.waves), "change-waves", wave_text.describe(plan.waves), is_change=True)


def waves_part(
    plan: PlanSummary, counts: RunCounts, at: Addresses, failed: list[tuple[FailedRun, str]]
) -> WavesPart:
    """Return the state of a plan's waves; ``counts`` has the runs of the plan, or of its whole set."""
    is_live = plan.status == PlanStatus.APPLYING
    strip = wave_text.strip(counts)
    return WavesPart(
        at=at,
        state=plan.wave_state if is_live else None,
        is_live=is_live,
        settings=wave_text.describe(plan.waves),
        is_paced=plan.waves not in (None, Waves()),
        strip=strip,
        shares=state_labels.shares_now([(part.state, part.count) for part in strip]),
        tag=wave_text.STATES[plan.wave_state or WaveState.CLEARING],
        text=wave_text.state_text(plan) if is_live else "",
        question=wave_text.question(plan, counts) if plan.is_waiting_for_person else "",
        failed=failed,
        failed_total=counts.failing + counts.failed,
        has_failures=counts.failures > 0,
    )
