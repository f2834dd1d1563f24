"""Assets, triggered dag runs and sensors of other DAGs that the cleared tasks affect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.airflow_api.dag import external_sensors, outlets_and_triggers
from safe_clear_plugin.airflow_api.dag.outlets_and_triggers import OtherDagRow
from safe_clear_plugin.airflow_api.scheduling.capacity import TaskCount
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count, join_some, verb
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.links import OtherDag, asset_links, dag_links
from safe_clear_plugin.findings.task_lists import AffectedTask, Details, TaskList, Versions, find_tasks
from safe_clear_plugin.findings.wording import is_or_are, join_tasks
from safe_clear_plugin.storage.findings import plan_runs


@dataclass(frozen=True, slots=True)
class Outlet:
    """An asset, or an alias of assets, that a cleared task updates."""

    id: int | None
    """Airflow's id of the asset; an alias has none."""
    name: str
    alias: bool = False


@dataclass(frozen=True, slots=True)
class SideEffectFacts:
    """Assets, triggered runs and sensors of other DAGs that the cleared tasks concern."""

    updates: int = 0
    """Task instances that update an asset."""
    outlets: tuple[Outlet, ...] = ()
    consumers: tuple[OtherDag, ...] = ()
    """DAGs that are scheduled on the updated assets, and on events such as these runs create."""
    other_partitions: int = 0
    """DAGs that such an event does not queue: they wait for one with a partition key, or for one without."""
    triggering: int = 0
    """Task instances that trigger dag runs."""
    triggered: tuple[OtherDag, ...] = ()
    templated: tuple[str, ...] = ()
    """Tasks that trigger a DAG whose id is only known when they run."""
    fixed_runs: tuple[str, ...] = ()
    """Tasks that trigger a dag run with a ``logical_date`` or a ``trigger_run_id`` of their own."""
    waiting: tuple[OtherDag, ...] = ()
    """DAGs whose sensors wait for these tasks."""
    marked: tuple[OtherDag, ...] = ()
    """DAGs that an ``ExternalTaskMarker`` among the tasks points to."""


def collect_facts(plan: PlanContext) -> SideEffectFacts:
    """Examine the tasks as their DAG versions define them."""
    workload, session = plan.workload, plan.session
    pairs = [(tasks, task) for tasks in workload.counts if (task := workload.task(tasks)) is not None]
    starting = [task for tasks, task in pairs if tasks.instances]
    found, aliases = outlets_and_triggers.outlet_assets(starting, session)
    triggers = list(outlets_and_triggers.triggers(starting))
    task_ids = {tasks.task_id for tasks in workload.counts}
    listening = outlets_and_triggers.consumers(found, aliases, session)
    queued = _queued(listening, plan)
    waiting = external_sensors.waiting_dag_ids(plan.dag_id, task_ids, session) if task_ids else ()
    return SideEffectFacts(
        updates=sum(task.instances for task in updating_tasks(workload.counts, plan.versions)),
        outlets=(
            *(Outlet(asset.id, asset.name) for asset in found),
            *(Outlet(None, name, alias=True) for name in aliases),
        ),
        consumers=_other_dags(queued),
        other_partitions=len(listening) - len(queued),
        triggering=sum(task.instances for task in triggering_tasks(workload.counts, plan.versions)),
        triggered=_known_dags({t.dag_id for t in triggers if t.dag_id is not None}, plan),
        templated=_sorted(t.task_id for t in triggers if t.dag_id is None),
        fixed_runs=_sorted(t.task_id for t in triggers if t.fixed_run),
        waiting=_known_dags(waiting, plan),
        marked=_known_dags(outlets_and_triggers.marked_dag_ids([task for _, task in pairs]), plan),
    )


def updating_tasks(counts: Sequence[TaskCount], versions: Versions) -> list[AffectedTask]:
    """Return the tasks that update assets."""
    return find_tasks(counts, versions, lambda task: outlets_and_triggers.outlet_names(task) or None)


def triggering_tasks(counts: Sequence[TaskCount], versions: Versions) -> list[AffectedTask]:
    """Return the tasks that trigger dag runs, with the DAG where it is known."""
    return find_tasks(counts, versions, _triggered_by)


def _triggered_by(task: Any) -> Details | None:
    for trigger in outlets_and_triggers.triggers([task]):
        return (trigger.dag_id,) if trigger.dag_id else ()
    return None


def _queued(listening: Sequence[OtherDagRow], plan: PlanContext) -> list[OtherDagRow]:
    """Return the DAGs that the events queue: those of partitions or the others (``_queue_dagruns``)."""
    if not listening:
        return []
    with_key, without = plan_runs.count_by_partition(plan.plan_id, plan.session)
    return [row for row in listening if (with_key if row.is_partitioned else without)]


def _known_dags(dag_ids: Iterable[str], plan: PlanContext) -> tuple[OtherDag, ...]:
    return _other_dags(outlets_and_triggers.dags_in_use(set(dag_ids), plan.session), has_condition=False)


def _other_dags(rows: Iterable[Any], *, has_condition: bool = True) -> tuple[OtherDag, ...]:
    return tuple(
        OtherDag(
            row.dag_id,
            row.is_paused,
            "needs other assets too" if has_condition and row.needs_more else "",
        )
        for row in rows
    )


def _sorted(task_ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(task_ids)))


def assets(facts: SideEffectFacts) -> Finding | None:
    """Find asset events (``AssetManager.register_asset_change``), and the DAGs that they trigger."""
    if not facts.outlets:
        return None
    number = len(facts.outlets)
    title = f"{count(facts.updates, 'task instance')} will update {count(number, 'asset')} again"
    if awake := sum(not dag.paused for dag in facts.consumers):
        title += f", which {verb(number, 'triggers', 'trigger')} {count(awake, 'Dag')}"
    names = join_some([f"`{outlet.name}`" for outlet in facts.outlets], "asset")
    detail = [f"Each success creates an event of {names}.", *_consumers(facts)]
    if any(outlet.alias for outlet in facts.outlets):
        detail.append("The assets of an alias are only known when the task runs.")
    return Finding(
        "assets",
        "info",
        title,
        " ".join(detail),
        facts.updates,
        rows=True,
        links=(*asset_links(facts.outlets), *dag_links(facts.consumers)),
    )


def _consumers(facts: SideEffectFacts) -> list[str]:
    text = []
    if others := facts.other_partitions:
        text.append(
            f"{count(others, 'Dag')} that {verb(others, 'is', 'are')} scheduled on it will not run: Airflow "
            "runs partitioned Dags for events with a partition key only, and other Dags for events without."
        )
    if not (consumers := facts.consumers):
        return text or ["No Dag is scheduled on it."]
    text.append("A Dag that is scheduled on several assets waits until its whole condition is met.")
    if paused := sum(dag.paused for dag in consumers):
        text.append(f"{count(paused, 'Dag')} {is_or_are(paused)} paused and will miss the event.")
    return text


def triggers(facts: SideEffectFacts) -> Finding | None:
    """Find each ``TriggerDagRunOperator`` among the cleared tasks."""
    if not facts.triggering:
        return None
    known = len(facts.triggered)
    detail = []
    if facts.fixed_runs:
        detail.append(
            f"{join_tasks(facts.fixed_runs)} {verb(len(facts.fixed_runs), 'triggers', 'trigger')} a run with "
            "a fixed date or id. If that run still exists the task fails, unless `reset_dag_run` clears the "
            "run or `skip_when_already_exists` skips the task."
        )
    else:
        detail.append("Each will create a new run in addition to the earlier one.")
    if facts.templated:
        detail.append(f"Which Dag {join_tasks(facts.templated)} triggers is only known when the task runs.")
    if paused := sum(dag.paused for dag in facts.triggered):
        detail.append(f"{count(paused, 'Dag')} {is_or_are(paused)} paused: the runs will wait there.")
    return Finding(
        "triggers",
        "info",
        f"{count(facts.triggering, 'task instance')} will trigger "
        f"{count(known, 'other Dag') if known else 'other Dags'} again",
        " ".join(detail),
        facts.triggering,
        rows=True,
        links=dag_links(facts.triggered),
    )


def waited_for(facts: SideEffectFacts) -> Finding | None:
    """Find sensors of other DAGs, and markers. Airflow 3 clears nothing there (``SerializedDAG.clear``)."""
    dags = {dag.dag_id: dag for dag in (*facts.marked, *facts.waiting)}
    if not dags:
        return None
    number = len(dags)
    return Finding(
        "waited_for",
        "info",
        f"{count(number, 'other Dag')} {verb(number, 'waits', 'wait')} for these tasks",
        "An `ExternalTaskSensor` waits for them, or an `ExternalTaskMarker` points there. Airflow clears "
        "nothing there. A finished sensor stays finished, and the tasks after it keep the old data; a "
        "waiting sensor keeps waiting.",
        number,
        remedy="When these task instances have finished, clear those in the other Dags too.",
        links=dag_links(tuple(dags.values())),
    )


TASK_LISTS = {
    "assets": TaskList(updating_tasks, "Updates"),
    "triggers": TaskList(triggering_tasks, "Triggers", names_dags=True),
}

AREA = Area(
    "side_effects",
    collect_facts,
    (
        Check("assets", "assets that will be updated again", assets),
        Check("triggers", "Dags that will be triggered again", triggers),
        Check("waited_for", "other Dags that wait for these tasks", waited_for),
    ),
    needs_workload=True,
)
