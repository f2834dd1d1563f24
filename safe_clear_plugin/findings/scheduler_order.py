"""Effects of other runs on those of a plan: a DAG that Airflow pauses, runs of a backfill that wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safe_clear_plugin.airflow_api.scheduling import run_order
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count, verb
from safe_clear_plugin.core.states import UNFINISHED_RUN_STATES
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext


@dataclass(frozen=True, slots=True)
class SchedulerOrderFacts:
    """The DAG's newest runs, and how many runs the scheduler examines before those of a backfill."""

    rerunning: int = 0
    """Runs of the plan that the scheduler will examine."""
    failures_allowed: int = 0
    """``max_consecutive_failed_dag_runs``; 0 is no limit."""
    newest: Sequence[str] = ()
    """The states after the clear of as many newest runs of the DAG."""
    backfill_runs: int = 0
    runs_first: int = 0
    """Running runs of no backfill, in the deployment and in the plan."""


def collect_facts(plan: PlanContext) -> SchedulerOrderFacts:
    """Read what ``DagRun.update_state`` and ``get_running_dag_runs_to_examine`` look at."""
    rerunning = sum(change.count for change in plan.run_changes if change.after in UNFINISHED_RUN_STATES)
    if not rerunning:
        return SchedulerOrderFacts()
    tables, groups = plan.workload.tables, plan.workload.groups
    dags = [version.dag for version in plan.versions.values() if version.dag is not None]
    limits = [limit for dag in dags if (limit := dag.max_consecutive_failed_dag_runs or 0) > 0]
    allowed = min(limits, default=0)
    newest = run_order.newest_run_states(tables, plan.dag_id, allowed, plan.session) if allowed else ()
    has_backfills = any(group.backfill_id is not None for group in groups)
    backfill_runs = run_order.count_backfill_runs(tables, plan.session) if has_backfills else 0
    if not backfill_runs:
        return SchedulerOrderFacts(rerunning, allowed, newest)
    to_queue = sum(group.to_queue for group in groups if group.backfill_id is None)
    runs_first = run_order.count_running_first(plan.now, plan.session)
    return SchedulerOrderFacts(rerunning, allowed, newest, backfill_runs, runs_first + to_queue)


def may_pause_dag(facts: SchedulerOrderFacts) -> Finding | None:
    """Find runs whose failure pauses the DAG (``DagRun._check_last_n_dagruns_failed``)."""
    limit, newest = facts.failures_allowed, facts.newest
    if not limit or len(newest) < limit or "success" in newest:
        return None
    open_runs = sum(state in UNFINISHED_RUN_STATES for state in newest)
    when = (
        f"if {verb(open_runs, 'one more run fails', f'{open_runs:,} more runs fail')}"
        if open_runs
        else "when the first cleared run fails"
    )
    return Finding(
        "may_pause_dag",
        "warn",
        f"Airflow will pause the Dag {when}",
        f"`max_consecutive_failed_dag_runs` is {limit:,}. Whenever a run fails, Airflow pauses the Dag if "
        f"its newest {limit:,} runs are all Failed. Cleared runs count too. Cleared task instances that have "
        "not started then wait until somebody unpauses the Dag.",
        open_runs or facts.rerunning,
        remedy="Clear a few runs first, and the others when these have succeeded.",
    )


def backfill_waits(facts: SchedulerOrderFacts) -> Finding | None:
    """Find runs of a backfill that wait: the scheduler sorts by ``sort_ordinal``, without one first."""
    if not facts.backfill_runs or facts.runs_first < run_order.examined_at_once():
        return None
    runs = facts.backfill_runs
    return Finding(
        "backfill_waits",
        "warn",
        f"{count(runs, 'run')} of a backfill can wait for {facts.runs_first:,} other runs",
        f"A scheduler examines {run_order.examined_at_once():,} running Dag runs at a time, those of a "
        "backfill last, also when the backfill is over. While that many others are running, no task of these "
        "runs starts.",
        runs,
        remedy="Clear these runs when fewer Dag runs are running, or raise "
        "`[scheduler] max_dagruns_per_loop_to_schedule`.",
    )


AREA = Area(
    "scheduler_order",
    collect_facts,
    (
        Check("may_pause_dag", "failures that pause the Dag", may_pause_dag),
        Check("backfill_waits", "runs of a backfill that other runs hold up", backfill_waits),
    ),
    needs_workload=True,
)
