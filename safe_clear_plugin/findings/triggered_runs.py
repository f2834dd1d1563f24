"""Dag runs of other DAGs that the cleared tasks trigger by their id or date, and that exist already.

No text names another DAG, since not every reader may know of it; ``links`` do, for those who can see it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from safe_clear_plugin.airflow_api.dag import triggered_runs
from safe_clear_plugin.core.finding import Finding, Link
from safe_clear_plugin.core.formats import count, verb
from safe_clear_plugin.core.outcomes import OutcomeReason
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.wording import join_tasks
from safe_clear_plugin.storage.findings import later_outcomes


@dataclass(frozen=True, slots=True)
class TriggeredRunFacts:
    """Task instances whose triggered run exists, by outcome; tasks with the most first."""

    failing: int = 0
    failing_tasks: tuple[str, ...] = ()
    skipped: int = 0
    skipped_tasks: tuple[str, ...] = ()
    dag_ids: tuple[str, ...] = ()


def collect_facts(plan: PlanContext) -> TriggeredRunFacts:
    """Look up the runs that the cleared tasks will trigger, and write which task instances find theirs."""
    workload = plan.workload
    tasks = {
        tasks.task_id: task
        for tasks in workload.counts
        if tasks.instances and (task := workload.task(tasks)) is not None
    }
    triggers = triggered_runs.pinned_triggers(tasks.values())
    if not triggers:
        return TriggeredRunFacts()
    runs = triggered_runs.planned_runs(
        workload.tables, [trigger.task_id for trigger in triggers], plan.session
    )
    found: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    dag_ids = set()
    for trigger in triggers:
        existing = triggered_runs.count_existing(trigger, runs.get(trigger.task_id, ()), plan.session)
        if existing:
            found[trigger.skips][trigger.task_id] += sum(existing.values())
            dag_ids.add(trigger.dag_id)
            reason = OutcomeReason.TRIGGER_SKIPS if trigger.skips else OutcomeReason.TRIGGER_FAILS
            later_outcomes.give_reason(plan.plan_id, trigger.task_id, existing, reason, plan.session)
    return TriggeredRunFacts(
        found[False].total(), _names(found[False]), found[True].total(), _names(found[True]), _sorted(dag_ids)
    )


def _names(numbers: Counter[str]) -> tuple[str, ...]:
    return tuple(sorted(numbers, key=lambda task_id: (-numbers[task_id], task_id)))


def _sorted(dag_ids: set[str]) -> tuple[str, ...]:
    return tuple(sorted(dag_ids))


def trigger_fails(facts: TriggeredRunFacts) -> Finding | None:
    """Find task instances that end with ``DagRunAlreadyExists``."""
    if not (number := facts.failing):
        return None
    return Finding(
        "trigger_fails",
        "warn",
        f"{count(number, 'task instance')} of {join_tasks(facts.failing_tasks)} will fail, as "
        f"{verb(number, 'the Dag run that it triggers exists', 'the Dag runs that they trigger exist')}",
        "The task triggers a Dag run by a fixed id or logical date. If there is such a run, the task fails. "
        "With `reset_dag_run` it does not fail: Airflow clears the existing run.",
        number,
        remedy="Exclude the task, or delete the existing Dag runs before the clear.",
        rows=True,
        links=_links(facts),
    )


def trigger_skips(facts: TriggeredRunFacts) -> Finding | None:
    """Find task instances that are skipped, with ``skip_when_already_exists``."""
    if not (number := facts.skipped):
        return None
    return Finding(
        "trigger_skips",
        "info",
        f"{count(number, 'task instance')} of {join_tasks(facts.skipped_tasks)} will be skipped, as "
        f"{verb(number, 'the Dag run that it triggers exists', 'the Dag runs that they trigger exist')}",
        "The task triggers a Dag run by a fixed id or logical date and has `skip_when_already_exists`. The "
        "existing run is not run again.",
        number,
        remedy="Clear the other Dag's runs too if they should run again.",
        rows=True,
        links=_links(facts),
    )


def _links(facts: TriggeredRunFacts) -> tuple[Link, ...]:
    return tuple(Link("dag", dag_id) for dag_id in facts.dag_ids)


AREA = Area(
    "triggered_runs",
    collect_facts,
    (
        Check("trigger_fails", "triggers whose Dag run exists", trigger_fails),
        Check("trigger_skips", "triggers that skip since their Dag run exists", trigger_skips),
    ),
    needs_workload=True,
    writes=True,
)
