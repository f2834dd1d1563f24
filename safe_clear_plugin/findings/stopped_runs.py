"""Dag runs that a timeout or ``fail_fast`` stopped, or may stop again."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.airflow_api.dag import dependencies
from safe_clear_plugin.core.finding import NOT_AFFECTED, Affected, Finding
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.suggested_changes import FAILED_AND_SKIPPED
from safe_clear_plugin.findings.wording import in_runs, join_tasks
from safe_clear_plugin.storage.findings import affected_task_instances, stopped_task_instances, task_relations


@dataclass(frozen=True, slots=True)
class StoppedRunFacts:
    """Task instances that were skipped when runs stopped, and those that ``fail_fast`` would stop now."""

    skipped: Affected = NOT_AFFECTED
    fail_fast: bool = False
    runs: int = 0
    can_take_skipped: bool = True
    """Whether a selection can say what is skipped in these runs: not one of what failed in some time."""
    unfinished_beside: int = 0
    """Unfinished task instances outside the plan, in its runs."""


def collect_facts(plan: PlanContext) -> StoppedRunFacts:
    """Count task instances that nothing in the DAG has skipped, if it has a timeout or ``fail_fast``."""
    dags = [version.dag for version in plan.versions.values() if version.dag is not None]
    # The latest DAG's, which is that of the column that the api-server reads.
    fail_fast = bool(plan.latest.dag is not None and plan.latest.dag.fail_fast)
    if not fail_fast and not any(dag.fail_fast or dag.dagrun_timeout for dag in dags):
        return StoppedRunFacts()
    if plan.clears_whole_runs:
        return StoppedRunFacts(fail_fast=fail_fast, runs=plan.dag_runs)
    if any(dag.fail_fast for dag in dags):
        found = {
            shape.number: dependencies.skipped_only_when_stopped(shape.version.dag)
            for shape in plan.shapes
            if shape.version.dag is not None
        }
        task_relations.write_relations(plan.plan_id, found, plan.session)
    of_plan = (plan.plan_id, plan.dag_id, plan.session)
    return StoppedRunFacts(
        skipped=affected_task_instances.count_by_task("skipped_stay", *of_plan),
        fail_fast=fail_fast,
        runs=plan.dag_runs,
        can_take_skipped=not plan.selection.is_by_failure,
        unfinished_beside=stopped_task_instances.count_unfinished_beside(*of_plan) if fail_fast else 0,
    )


def skipped_stay(facts: StoppedRunFacts) -> Finding | None:
    """Find task instances that a timeout or ``fail_fast`` skipped: a clear of others does not start them."""
    skipped = facts.skipped
    if not skipped.count:
        return None
    return Finding(
        "skipped_stay",
        "warn",
        f"{count(skipped.count, 'task instance')} outside this plan will stay Skipped "
        f"{in_runs(skipped.runs)}: {join_tasks(skipped.tasks)}",
        "They never ran: a timeout of the Dag run or `fail_fast` skipped them. If everything that is cleared "
        "succeeds, the runs will become Success without them and without what is downstream of them.",
        skipped.count,
        remedy="Preview what has failed and what is skipped in these runs, and clear both."
        if facts.can_take_skipped
        else "Select these runs by their dates or run ids, in states Failed, Upstream Failed and Skipped.",
        widen=(FAILED_AND_SKIPPED,) if facts.can_take_skipped else (),
        rows=True,
    )


def fail_fast(facts: StoppedRunFacts) -> Finding | None:
    """Find ``fail_fast``: the first failure ends all of its run (``_stop_remaining_tasks``)."""
    if not facts.fail_fast or not facts.runs:
        return None
    beside = facts.unfinished_beside
    more = f", also {count(beside, 'unfinished task instance')} outside this plan" if beside else ""
    return Finding(
        "fail_fast",
        "warn" if beside else "info",
        f"The first failure in a run will end the whole run{more}",
        "The Dag has `fail_fast`. When a task instance fails without a retry left, Airflow fails what is "
        "running in its run and skips what waits. Teardowns still run.",
        beside or facts.runs,
        rows=bool(beside),
    )


AREA = Area(
    "stopped_runs",
    collect_facts,
    (
        Check("skipped_stay", "task instances that a timeout or fail_fast skipped", skipped_stay),
        Check("fail_fast", "fail_fast", fail_fast),
    ),
    writes=True,
)
