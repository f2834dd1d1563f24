"""Whether the cleared task instances will start, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from safe_clear_plugin.airflow_api.scheduling import capacity
from safe_clear_plugin.airflow_api.scheduling import depends_on_past as previous_runs
from safe_clear_plugin.airflow_api.scheduling.depends_on_past import BlockedByPreviousRun
from safe_clear_plugin.core.finding import Finding, Link
from safe_clear_plugin.core.formats import count, moment, verb
from safe_clear_plugin.core.states import FINISHED_RUN_STATES
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.previous_run_wording import blocked_by_previous_run
from safe_clear_plugin.findings.workload import Workload
from safe_clear_plugin.storage.findings import run_counts
from safe_clear_plugin.storage.findings.upstream_states import PlanScope


@dataclass(frozen=True, slots=True)
class SchedulingFacts:
    """Facts that the scheduler checks before it starts a task instance."""

    dag_id: str
    dag_is_paused: bool = False
    dag_is_stale: bool = False
    has_import_errors: bool = False
    runs_to_queue: int = 0
    runs_kept_finished: int = 0
    runs_of_paused_backfills: int = 0
    blocked: tuple[BlockedByPreviousRun, ...] = ()
    blocked_successes: int = 0
    """Runs that are Success and will never end, as they wait for an earlier run that will not succeed."""
    not_due: int = 0
    first_due: datetime | None = None
    after_end_date: int = 0


def collect_facts(plan: PlanContext) -> SchedulingFacts:
    """Read the DAG's own state, and what its runs wait for."""
    workload = plan.workload
    dag = workload.dag
    not_due, first_due = capacity.not_due(workload.tables, plan.now, plan.session)
    blocked, scope = _blocked(plan, workload), PlanScope(plan.plan_id, plan.dag_id)
    return SchedulingFacts(
        dag_id=plan.dag_id,
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
        blocked=blocked,
        blocked_successes=run_counts.count_runs_blocked(scope, plan.session) if blocked else 0,
        not_due=not_due,
        first_due=first_due,
        after_end_date=capacity.runs_after(workload.tables, _end_dates(workload), plan.session),
    )


def _blocked(plan: PlanContext, workload: Workload) -> tuple[BlockedByPreviousRun, ...]:
    task_ids: dict[UUID, set[str]] = {}
    for tasks in workload.counts:
        task_ids.setdefault(tasks.version, set()).add(tasks.task_id)
    rules = previous_runs.rules_for((plan.versions[id_], ids) for id_, ids in task_ids.items())
    return tuple(
        found
        for rule in rules
        for found in previous_runs.find_blocked(workload.tables, rule, plan.dag_id, plan.session)
    )


def _end_dates(workload: Workload) -> dict[UUID, datetime]:
    """Return the first end date of each DAG version and its cleared tasks."""
    ends: dict[UUID, datetime] = {}
    for tasks in workload.counts:
        task, dag = workload.task(tasks), workload.versions[tasks.version].dag
        for end in (task and task.end_date, dag and dag.end_date):
            if end is not None:
                ends[tasks.version] = min(end, ends.get(tasks.version, end))
    return ends


def dag_paused(facts: SchedulingFacts) -> Finding | None:
    """Find a paused DAG: none of its tasks starts."""
    if not facts.dag_is_paused:
        return None
    return Finding(
        "dag_paused",
        "warn",
        f"{facts.dag_id} is paused, so nothing will start",
        "Airflow clears the task instances now, but the scheduler starts no task of a paused Dag. "
        "Unpause the Dag to start them.",
        facts.runs_to_queue,
    )


def dag_stale(facts: SchedulingFacts) -> Finding | None:
    """Find a DAG whose file is gone: the scheduler ignores it, as it does a paused one."""
    if not facts.dag_is_stale:
        return None
    return Finding(
        "dag_stale",
        "warn",
        f"{facts.dag_id} is no longer in the Dag files, so nothing will start",
        "The scheduler ignores a Dag that the Dag processor has not found for a while. "
        "Check the Dag's import errors, or restore its file.",
        facts.runs_to_queue,
    )


def dag_import_errors(facts: SchedulingFacts) -> Finding | None:
    """Find a DAG whose file cannot be imported: its tasks start, and the worker imports the same file."""
    if not facts.has_import_errors:
        return None
    return Finding(
        "dag_import_errors",
        "warn",
        f"The file of {facts.dag_id} has import errors, so its tasks will probably fail",
        "The scheduler starts tasks from the last version that it could read. A worker imports the file "
        "itself, unless the run is bound to an older version of the Dag bundle.",
        facts.runs_to_queue,
        remedy="Fix the file and wait until the Dag processor has read it. Then clear.",
        links=(Link("dag", facts.dag_id),),
    )


def runs_not_reset(facts: SchedulingFacts) -> Finding | None:
    """Find finished runs that keep their state: the scheduler ignores them."""
    if not (kept := facts.runs_kept_finished):
        return None
    return Finding(
        "runs_not_reset",
        "warn",
        f"{count(kept, 'finished run')} {verb(kept, 'keeps its', 'keep their')} state, "
        f"so nothing in {verb(kept, 'it', 'them')} will start",
        "The scheduler handles only queued and running Dag runs. The cleared task instances will have no "
        "state until somebody queues their runs.",
        kept,
        remedy="Choose to reset the Dag runs if the task instances should run.",
    )


def runs_not_due(facts: SchedulingFacts) -> Finding | None:
    """Find future runs, for which ``get_queued_dag_runs_to_set_running`` and ``_schedule_dag_run`` wait."""
    if not facts.not_due:
        return None
    return Finding(
        "runs_not_due",
        "warn",
        f"{count(facts.not_due, 'run')} {verb(facts.not_due, 'lies', 'lie')} in the future, "
        f"the first until {moment(facts.first_due)}",
        "The scheduler starts no task before the `run_after` and the logical date of its Dag run.",
        facts.not_due,
    )


def backfill_paused(facts: SchedulingFacts) -> Finding | None:
    """Find runs of a paused backfill: the scheduler ignores its queued ones."""
    if not (paused := facts.runs_of_paused_backfills):
        return None
    return Finding(
        "backfill_paused",
        "warn",
        f"{count(paused, 'run')} {verb(paused, 'belongs', 'belong')} to a paused backfill and will not start",
        "The scheduler starts no queued Dag run of a paused backfill.",
        paused,
        remedy="Unpause the backfill on the Dag's Backfills page.",
        links=(Link("dag", facts.dag_id),),
    )


def depends_on_past(facts: SchedulingFacts) -> Finding | None:
    """Find task instances that ``PrevDagrunDep`` blocks, as their previous run is not in the plan."""
    return blocked_by_previous_run(
        "depends_on_past",
        [item for item in facts.blocked if not item.for_downstream],
        "A task with `depends_on_past` starts only if its task instances in the previous run are Success or "
        "Skipped.",
        "Its task instance",
        facts.blocked_successes,
    )


def wait_for_downstream(facts: SchedulingFacts) -> Finding | None:
    """Find task instances that wait for the direct downstream tasks in the previous run."""
    return blocked_by_previous_run(
        "wait_for_downstream",
        [item for item in facts.blocked if item.for_downstream],
        "A task with `wait_for_downstream` starts only if its task instances and those directly downstream "
        "of it are Success or Skipped in the previous run.",
        "A task instance directly downstream of it",
        facts.blocked_successes,
    )


def after_end_date(facts: SchedulingFacts) -> Finding | None:
    """Find runs beyond the ``end_date``, which none of the ``DEFAULT_OPERATOR_DEPS`` checks."""
    if not (late := facts.after_end_date):
        return None
    return Finding(
        "after_end_date",
        "info",
        f"{count(late, 'run')} after the end date will start anyway",
        "Airflow creates no new runs after an `end_date`. But the date does not stop a run that is cleared.",
        late,
    )


AREA = Area(
    "scheduling",
    collect_facts,
    (
        Check("dag_paused", "a paused Dag", dag_paused),
        Check("dag_stale", "a Dag that is no longer in the Dag files", dag_stale),
        Check("dag_import_errors", "import errors of the Dag's file", dag_import_errors),
        Check("runs_not_reset", "finished runs that keep their state", runs_not_reset),
        Check("runs_not_due", "runs in the future", runs_not_due),
        Check("backfill_paused", "a paused backfill", backfill_paused),
        Check("depends_on_past", "tasks that wait for an earlier run", depends_on_past, is_grave=True),
        Check(
            "wait_for_downstream",
            "tasks that wait for an earlier run's downstream",
            wait_for_downstream,
            is_grave=True,
        ),
        Check("after_end_date", "runs after the end date", after_end_date),
    ),
    needs_workload=True,
)
