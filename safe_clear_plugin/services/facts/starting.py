"""Finds out what the scheduler will make of the cleared runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from safe_clear_plugin.airflow_api.scheduling import capacity, depends_on_past
from safe_clear_plugin.core.findings import StartingFacts
from safe_clear_plugin.core.findings.scheduling import WaitsForPast
from safe_clear_plugin.core.states import FINISHED_RUN_STATES
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.services.facts.workload import Workload, task_of


def facts(plan: PlanContext, workload: Workload) -> StartingFacts:
    """Read the DAG's own state, and what its runs wait for."""
    dag = workload.dag
    not_due, first_due = capacity.not_due(workload.planned, plan.now, plan.session)
    return StartingFacts(
        dag_id=plan.selection.dag_id,
        dag_is_paused=bool(dag.is_paused),
        dag_is_stale=bool(dag.is_stale),
        has_import_errors=bool(dag.has_import_errors),
        runs_to_queue=sum(
            change.count for change in plan.run_changes if change.after == "queued" != change.before
        ),
        runs_kept_finished=sum(
            change.count for change in plan.run_changes if change.after in FINISHED_RUN_STATES
        ),
        runs_of_paused_backfills=sum(group.to_queue for group in workload.groups if group.paused),
        past=tuple(_past(plan, workload)),
        not_due=not_due,
        first_due=first_due,
        after_end_date=capacity.runs_after(workload.planned, _ends(plan, workload), plan.session),
    )


def _past(plan: PlanContext, workload: Workload) -> Iterator[WaitsForPast]:
    task_ids: dict[UUID, set[str]] = {}
    for count in workload.counts:
        task_ids.setdefault(count.version, set()).add(count.task_id)
    rules = depends_on_past.past_rules((plan.versions[id_], ids) for id_, ids in task_ids.items())
    for rule in rules:
        for held in depends_on_past.held(workload.planned, rule, plan.selection.dag_id, plan.session):
            yield WaitsForPast(
                held.task_id, held.count, held.run_id, held.previous_run_id, held.for_downstream
            )


def _ends(plan: PlanContext, workload: Workload) -> dict[UUID, datetime]:
    """Return the first end date of each DAG version and the tasks that are cleared of it."""
    ends: dict[UUID, datetime] = {}
    for count in workload.counts:
        task, dag = task_of(count, plan), plan.versions[count.version].dag
        for end in (task and task.end_date, dag and dag.end_date):
            if end is not None:
                ends[count.version] = min(end, ends.get(count.version, end))
    return ends
