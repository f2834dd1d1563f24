"""Finds out how long the cleared runs may take, and whether Airflow can clear them at all."""

from __future__ import annotations

from safe_clear_plugin.airflow_api.scheduling import deadlines
from safe_clear_plugin.core.findings.deadlines import DeadlineFacts
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.storage.findings import plan_context


def facts(plan: PlanContext) -> DeadlineFacts:
    """Read ``dagrun_timeout`` of each DAG version used, and the runs that it concerns."""
    timeouts = {
        version.id: version.dag.dagrun_timeout
        for version in plan.versions.values()
        if version.dag is not None and version.dag.dagrun_timeout
    }
    counted = plan_context.timed_runs(plan.plan_id, plan.session) if timeouts else {}
    timed = {id_: counted[id_] for id_ in timeouts if id_ in counted}
    ends = [
        start + timeouts[id_]
        for id_, runs in timed.items()
        for start in (runs.first_start, runs.last_start)
        if start is not None
    ]
    since = {id_: plan.now - timeouts[id_] for id_, runs in timed.items() if runs.going_on}
    return DeadlineFacts(
        timeouts=tuple(sorted(set(timeouts.values()))),
        anew=sum(runs.anew for runs in timed.values()),
        going_on=sum(runs.going_on for runs in timed.values()),
        first_ends_at=min(ends, default=None),
        last_ends_at=max(ends, default=None),
        overdue=plan_context.running_since(plan.plan_id, since, plan.session),
        unclearable_runs=_unclearable(plan) if plan.selection.reset_dag_runs else 0,
    )


def _unclearable(plan: PlanContext) -> int:
    run_pks = plan_context.cleared_run_pks(plan.plan_id)
    return deadlines.runs_that_break_clear(run_pks, plan.now, plan.session)
