"""Limits on active runs and task instances that keep a part of the plan waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from safe_clear_plugin.airflow_api.scheduling.capacity import RunGroup, TaskCount
from safe_clear_plugin.core import formats
from safe_clear_plugin.core.finding import Finding, Link
from safe_clear_plugin.core.formats import MANY, count, verb
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.task_lists import AffectedTask, TaskList, Versions
from safe_clear_plugin.findings.workload import Workload, task_in_version


@dataclass(frozen=True, slots=True)
class ConcurrencySlots:
    """Dag runs that share a ``max_active_runs``: those of a backfill, or all others of the DAG."""

    limit: int
    to_queue: int
    """Runs of the plan that are queued after the clear."""
    active: int
    """Runs that are running, in the plan or not."""
    others_queued: int = 0
    is_backfill: bool = False
    is_paused: bool = False

    @property
    def waiting(self) -> int:
        """Runs that cannot start at once."""
        return max(0, self.to_queue - max(0, self.limit - self.active))


@dataclass(frozen=True, slots=True)
class TaskLimit:
    """A task with a limit on its own active task instances."""

    task_id: str
    setting: str
    limit: int
    instances: int


@dataclass(frozen=True, slots=True)
class CapacityFacts:
    """Airflow's limits, and how much of the plan each of them concerns."""

    dag_id: str = ""
    slots: tuple[ConcurrencySlots, ...] = ()
    last_start: str = ""
    """About when the last run starts, as text; empty when unknown."""
    max_active_tasks: int = 0
    widest_task: str = ""
    widest: int = 0
    """Most task instances of a task in one run."""
    task_limits: tuple[TaskLimit, ...] = ()
    limited: int = 0
    """Task instances of the tasks with such a limit."""


def collect_facts(plan: PlanContext) -> CapacityFacts:
    """Compare the workload with the limits on active runs and task instances."""
    workload = plan.workload
    widest = max(workload.counts, key=lambda count: count.widest, default=None)
    last = workload.estimate.last_start if workload.estimate else None
    return CapacityFacts(
        dag_id=plan.dag_id,
        slots=tuple(_concurrency_slots(group, workload) for group in workload.groups),
        last_start=formats.about(plan.now, last) if last else "",
        max_active_tasks=workload.dag.max_active_tasks,
        widest_task=widest.task_id if widest else "",
        widest=widest.widest if widest else 0,
        task_limits=tuple(_by_task(limit for _, limit in _limits(workload.counts, plan.versions))),
        limited=sum(task.instances for task in affected_tasks(workload.counts, plan.versions)),
    )


def _concurrency_slots(group: RunGroup, workload: Workload) -> ConcurrencySlots:
    return ConcurrencySlots(
        limit=workload.max_active_runs(group),
        to_queue=group.to_queue,
        active=group.running + group.others_running,
        others_queued=group.others_queued,
        is_backfill=group.backfill_id is not None,
        is_paused=group.paused,
    )


def _limits(counts: Sequence[TaskCount], versions: Versions) -> list[tuple[TaskCount, TaskLimit]]:
    """Return the limits that keep some waiting, of each task in each DAG version.

    ``max_active_tis_per_dag`` counts a task's active task instances whatever their version
    (``ConcurrencyMap``).
    """
    in_all_runs: Counter[str] = Counter()
    for count_ in counts:
        in_all_runs[count_.task_id] += count_.instances
    found = []
    for count_ in counts:
        task = task_in_version(count_, versions) if count_.instances else None
        if task is None:
            continue
        for setting, limit, instances in (
            ("max_active_tis_per_dag", task.max_active_tis_per_dag, in_all_runs[count_.task_id]),
            ("max_active_tis_per_dagrun", task.max_active_tis_per_dagrun, count_.widest),
        ):
            if limit is not None and instances > limit:
                found.append((count_, TaskLimit(count_.task_id, setting, limit, instances)))
    return found


def _by_task(limits: Iterable[TaskLimit]) -> list[TaskLimit]:
    """Return one limit of each task and setting: the lowest, and the most task instances."""
    found: dict[tuple[str, str], TaskLimit] = {}
    for one in limits:
        known = found.get((one.task_id, one.setting), one)
        found[one.task_id, one.setting] = replace(
            one, limit=min(one.limit, known.limit), instances=max(one.instances, known.instances)
        )
    return list(found.values())


def affected_tasks(counts: Sequence[TaskCount], versions: Versions) -> list[AffectedTask]:
    """Return the tasks with more task instances than a limit on them."""
    details: dict[tuple[UUID, str], list[str]] = {}
    for count_, limit in _limits(counts, versions):
        details.setdefault((count_.version, count_.task_id), []).append(f"{limit.setting} = {limit.limit}")
    return [
        AffectedTask(one.version, one.task_id, one.instances, tuple(details[one.version, one.task_id]))
        for one in counts
        if (one.version, one.task_id) in details
    ]


TASK_LIST = TaskList(affected_tasks, "Limit")


def runs_wait(facts: CapacityFacts) -> Finding | None:
    """Find queued runs that ``max_active_runs`` keeps waiting."""
    groups = [group for group in facts.slots if not group.is_paused and group.waiting]
    if not groups:
        return None
    waiting = sum(group.waiting for group in groups)
    queued = sum(group.to_queue for group in facts.slots if not group.is_paused)
    if all(group.limit <= 0 for group in groups):
        when = "None of them will start while it is 0."
    elif facts.last_start:
        when = f"The last one will start at about {facts.last_start}."
    else:
        when = "When the last one will start is unknown."
    limits = {group.limit for group in groups}
    why = f": max_active_runs is {groups[0].limit:,}" if len(limits) == 1 else ""
    return Finding(
        "runs_wait",
        "warn",
        f"{waiting:,} of {count(queued, 'run')} will wait{why}",
        " ".join([*map(_starts_at_once, groups), when]),
        waiting,
        remedy="Clear fewer runs at a time, or raise `max_active_runs`.",
        links=(Link("dag", facts.dag_id),),
    )


def _starts_at_once(group: ConcurrencySlots) -> str:
    setting = "The backfill's `max_active_runs`" if group.is_backfill else "`max_active_runs`"
    free = max(0, group.limit - group.active)
    text = (
        f"{setting} is {group.limit:,} and {count(group.active, 'run')} {verb(group.active, 'is', 'are')} "
        f"active, so {free:,} of {group.to_queue:,} can start at once."
    )
    if group.others_queued:
        text += f" {count(group.others_queued, 'other run')} {verb(group.others_queued, 'is', 'are')} queued."
    return text


def max_active_tasks(facts: CapacityFacts) -> Finding | None:
    """Find a run with more task instances than ``max_active_tasks``, which counts for each run."""
    if facts.widest <= facts.max_active_tasks:
        return None
    none = facts.max_active_tasks <= 0
    return Finding(
        "max_active_tasks",
        "warn" if none else "info",
        "No task instance will start: max_active_tasks is 0"
        if none
        else f"At most {count(facts.max_active_tasks, 'task instance')} of a run will be active at a time",
        f"`max_active_tasks` is {facts.max_active_tasks:,} for each run, and `{facts.widest_task}` has up to "
        f"{count(facts.widest, 'task instance')} in one run. The others will wait.",
        facts.widest,
        filter={"task": facts.widest_task},
        links=(Link("dag", facts.dag_id),),
    )


def task_limits(facts: CapacityFacts) -> Finding | None:
    """Find tasks with more task instances than ``max_active_tis_per_dag`` or ``…_per_dagrun``."""
    if not facts.task_limits:
        return None
    shown = [_task_limit(item) for item in facts.task_limits[:MANY]]
    if (more := len(facts.task_limits) - MANY) > 0:
        shown.append(f"There {verb(more, 'is', 'are')} {count(more, 'more limit')}.")
    number = len({item.task_id for item in facts.task_limits})
    return Finding(
        "task_limits",
        "info",
        f"{count(number, 'task')} can run only a few task instances at a time",
        " ".join(shown),
        facts.limited,
        rows=True,
    )


def _task_limit(item: TaskLimit) -> str:
    where = "in one run" if item.setting.endswith("run") else "in all runs"
    cleared = count(item.instances, "task instance")
    return f"`{item.task_id}`: `{item.setting}` is {item.limit:,}, and the plan has {cleared} {where}."


AREA = Area(
    "capacity",
    collect_facts,
    (
        Check("runs_wait", "Dag runs that will wait for others", runs_wait),
        Check("max_active_tasks", "more task instances in a run than can be active", max_active_tasks),
        Check("task_limits", "tasks with a limit on active task instances", task_limits),
    ),
    needs_workload=True,
)
