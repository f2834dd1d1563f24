"""Callbacks of the DAG and its tasks, which Airflow calls for cleared runs too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from safe_clear_plugin.airflow_api.scheduling import capacity
from safe_clear_plugin.airflow_api.scheduling.capacity import TaskCount
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count, join_words
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.task_lists import AffectedTask, Details, TaskList, Versions, find_tasks

OF_TASKS = ("execute", "success", "failure", "retry", "skipped")
OF_DAGS = ("success", "failure")


@dataclass(frozen=True, slots=True)
class CallbackFacts:
    """The callbacks of the cleared tasks and their Dags."""

    task_instances: int = 0
    of_tasks: tuple[str, ...] = ()
    runs: int = 0
    of_dag: tuple[str, ...] = ()


def collect_facts(plan: PlanContext) -> CallbackFacts:
    """Read ``has_on_*_callback`` of the tasks and DAG versions that will run."""
    workload = plan.workload
    tasks, by_version = affected_tasks(workload.counts, plan.versions), affected_versions(plan.versions)
    runs = capacity.runs_by_version(workload.tables, plan.session) if by_version else {}
    return CallbackFacts(
        sum(task.instances for task in tasks),
        _in_order(OF_TASKS, (task.details for task in tasks)),
        sum(runs.get(version, 0) for version in by_version),
        _in_order(OF_DAGS, (names for version, names in by_version.items() if runs.get(version))),
    )


def affected_tasks(counts: Sequence[TaskCount], versions: Versions) -> list[AffectedTask]:
    """Return the tasks with callbacks."""
    return find_tasks(counts, versions, lambda task: _callbacks_of(task, OF_TASKS) or None)


def affected_versions(versions: Versions) -> dict[UUID, Details]:
    """Return the DAG versions with callbacks of the DAG."""
    return {
        version.id: names for version in versions.values() if (names := _callbacks_of(version.dag, OF_DAGS))
    }


def _callbacks_of(owner: Any, kinds: Sequence[str]) -> Details:
    return tuple(f"on_{kind}_callback" for kind in kinds if getattr(owner, f"has_on_{kind}_callback", False))


def _in_order(kinds: Sequence[str], found: Iterable[Details]) -> Details:
    names = {name for one in found for name in one}
    return tuple(name for kind in kinds if (name := f"on_{kind}_callback") in names)


def callbacks(facts: CallbackFacts) -> Finding | None:
    """Find callbacks: they notify people, and a notification is not taken back."""
    if not facts.task_instances and not facts.runs:
        return None
    parts = [
        count(number, noun)
        for number, noun in ((facts.task_instances, "task instance"), (facts.runs, "Dag run"))
        if number
    ]
    sources = [
        f"{_names(kinds)} of the {owner}"
        for kinds, owner in ((facts.of_tasks, "tasks"), (facts.of_dag, "Dag"))
        if kinds
    ]
    return Finding(
        "callbacks",
        "info",
        f"Callbacks of {join_words(parts)} can be called again",
        f"Airflow calls {join_words(sources)} for cleared runs as for new ones. People can get the same "
        "notifications again.",
        facts.task_instances + facts.runs,
        rows=True,
    )


def _names(callbacks_: Details) -> str:
    return join_words([f"`{name}`" for name in callbacks_])


TASK_LIST = TaskList(affected_tasks, "Callbacks", affected_versions)


AREA = Area(
    "callbacks",
    collect_facts,
    (Check("callbacks", "callbacks that will be called again", callbacks),),
    needs_workload=True,
)
