"""Deadlines of the runs that re-run: those that are gone, and those that a clear does not move."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.airflow_api.scheduling import deadlines
from safe_clear_plugin.airflow_api.scheduling.deadlines import NO_DEADLINES, OpenDeadlines
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count, moment, verb
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.storage.findings import plan_runs


@dataclass(frozen=True, slots=True)
class DeadlineAlertFacts:
    """The number of runs with a deadline, and of those without one though their DAG has deadlines."""

    open: OpenDeadlines = NO_DEADLINES
    without: int = 0


def collect_facts(plan: PlanContext) -> DeadlineAlertFacts:
    """Count the deadlines of the runs that the clear queues."""
    with_deadline = [
        version.id for version in plan.versions.values() if version.dag is not None and version.dag.deadline
    ]
    if not plan.selection.reset_dag_runs or not with_deadline:
        return DeadlineAlertFacts()
    by_version = plan_runs.count_by_version(plan.plan_id, plan.session)
    found = deadlines.open_deadlines(plan_runs.cleared_run_pks(plan.plan_id, with_deadline), plan.session)
    total = sum(by_version.get(version_id, 0) for version_id in with_deadline)
    return DeadlineAlertFacts(found, total - found.runs)


def deadline_kept(facts: DeadlineAlertFacts) -> Finding | None:
    """Find deadlines that a clear leaves where they are (``_recalculate_dagrun_queued_at_deadlines``)."""
    if not (kept := facts.open.kept_runs):
        return None
    return Finding(
        "deadline_kept",
        "info",
        f"{count(kept, 'run')} {verb(kept, 'keeps its', 'keep their')} deadline, "
        f"{verb(kept, '', 'the first ')}at {moment(facts.open.first_kept)}",
        "The deadline does not count from when the run was queued, so a clear does not move it. If the "
        "re-run has not succeeded by then, Airflow calls the deadline's callback.",
        kept,
    )


def deadline_gone(facts: DeadlineAlertFacts) -> Finding | None:
    """Find runs without one: a success has removed it, or it was missed (``Deadline.prune_deadlines``)."""
    if not (gone := facts.without):
        return None
    return Finding(
        "deadline_gone",
        "info",
        f"{count(gone, 'run')} will re-run without a deadline",
        "The Dag has a deadline. Airflow removes a run's deadline when the run succeeds, does not repeat a "
        "missed one, and creates none for a cleared run. It will alert nobody if the re-run is late.",
        gone,
    )


AREA = Area(
    "deadline_alerts",
    collect_facts,
    (
        Check("deadline_kept", "deadlines that a clear does not move", deadline_kept),
        Check("deadline_gone", "runs that have no deadline any more", deadline_gone),
    ),
)
