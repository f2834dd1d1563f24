"""Queued dag runs that the scheduler no longer looks at: those of a backfill that is over."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.airflow_api.scheduling import backfills
from safe_clear_plugin.core.finding import Finding, Link
from safe_clear_plugin.core.formats import count, verb
from safe_clear_plugin.core.outcomes import OutcomeReason
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.storage.findings import stuck_runs
from safe_clear_plugin.storage.findings.stuck_runs import NOTHING_STUCK, Stuck


@dataclass(frozen=True, slots=True)
class StuckRunFacts:
    """The runs that stay queued forever."""

    dag_id: str = ""
    stuck: Stuck = NOTHING_STUCK
    command: str = ""
    """The backfill that runs them again instead; empty when their dates are unknown."""


def collect_facts(plan: PlanContext) -> StuckRunFacts:
    """Write that the queued runs of ended backfills never start: before what the scheduler does in others."""
    ended = backfills.ended_backfills(plan.dag_id, plan.session)
    if not ended:
        return StuckRunFacts()
    reason = OutcomeReason.BACKFILL_ENDED
    run_pks = backfills.runs_of_backfills(plan.dag_id, ended)
    stuck = stuck_runs.mark_queued_runs(plan.plan_id, run_pks, reason, plan.session)
    if not stuck.runs:
        return StuckRunFacts()
    first, last = stuck_runs.run_dates(plan.plan_id, reason, plan.session)
    command = backfills.reprocess_command(plan.dag_id, first, last) if first and last else ""
    return StuckRunFacts(plan.dag_id, stuck, command)


def backfill_ended(facts: StuckRunFacts) -> Finding | None:
    """Find runs of a backfill that is cancelled, or paused and over: they stay queued."""
    stuck = facts.stuck
    if not stuck.runs:
        return None
    instead = f": `{facts.command}`" if facts.command else ""
    return Finding(
        "backfill_ended",
        "acknowledge",
        f"{count(stuck.runs, 'run')} {verb(stuck.runs, 'belongs', 'belong')} to a backfill that is over, and "
        f"{verb(stuck.runs, 'its', 'their')} {count(stuck.task_instances, 'task instance')} will never start",
        "The backfill was cancelled, or paused until its last run was over. The scheduler starts no queued "
        "run of a paused backfill, and Airflow refuses to unpause one that is over. The runs stay queued.",
        stuck.task_instances,
        remedy="Do not clear them. Create a new backfill over these dates that reprocesses completed runs"
        f"{instead}. It runs each run between these dates again, with all of its tasks. If they are cleared "
        "already, undo that first.",
        rows=True,
        links=(Link("dag", facts.dag_id),),
    )


AREA = Area(
    "stuck_runs",
    collect_facts,
    (Check("backfill_ended", "a backfill that is over", backfill_ended, is_grave=True),),
    writes=True,
)
