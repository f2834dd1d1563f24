"""What the cleared tasks set off in other DAGs.

Titles and details name no other DAG, since not every reader may know of them. ``links`` do, and a page shows
those that its reader can see.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.airflow_api.dag import external_sensors, outlets_and_triggers
from safe_clear_plugin.core.finding import Finding, Link
from safe_clear_plugin.core.formats import verb
from safe_clear_plugin.core.plan_text import count
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.wording import is_or_are, join_some, join_tasks

MAX_LINKS = 200


@dataclass(frozen=True, slots=True)
class Outlet:
    """An asset, or an alias of assets, that a cleared task updates."""

    id: int | None
    """Airflow's id of the asset; an alias has none."""
    name: str
    alias: bool = False


@dataclass(frozen=True, slots=True)
class OtherDag:
    """Another DAG that is affected; ``paused`` if it is paused, or gone from the DAG files."""

    dag_id: str
    paused: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class SideEffectFacts:
    """Assets, triggered runs and sensors of other DAGs that the cleared tasks concern."""

    updates: int = 0
    """Task instances that update an asset."""
    outlets: tuple[Outlet, ...] = ()
    consumers: tuple[OtherDag, ...] = ()
    """DAGs that are scheduled on the updated assets."""
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
    tasks = [task for _, task in pairs]
    found, aliases = outlets_and_triggers.outlet_assets(tasks, session)
    triggers = list(outlets_and_triggers.triggers(tasks))
    triggering = {trigger.task_id for trigger in triggers}
    task_ids = {tasks.task_id for tasks in workload.counts}
    waiting = external_sensors.waiting_dag_ids(plan.dag_id, task_ids, session) if task_ids else ()
    return SideEffectFacts(
        updates=sum(count.instances for count, task in pairs if outlets_and_triggers.has_outlets(task)),
        outlets=(
            *(Outlet(asset.id, asset.name) for asset in found),
            *(Outlet(None, name, alias=True) for name in aliases),
        ),
        consumers=_other_dags(outlets_and_triggers.consumers(found, aliases, session)),
        triggering=sum(count.instances for count, _ in pairs if count.task_id in triggering),
        triggered=_known_dags({t.dag_id for t in triggers if t.dag_id is not None}, plan),
        templated=_sorted(t.task_id for t in triggers if t.dag_id is None),
        fixed_runs=_sorted(t.task_id for t in triggers if t.fixed_run),
        waiting=_known_dags(waiting, plan),
        marked=_known_dags(outlets_and_triggers.marked_dag_ids(tasks), plan),
    )


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
    detail = [f"Each success creates an event of {names}.", *_consumers(facts.consumers)]
    if any(outlet.alias for outlet in facts.outlets):
        detail.append("The assets of an alias are only known when the task runs.")
    return Finding(
        "assets",
        "info",
        title,
        " ".join(detail),
        facts.updates,
        links=(
            *(Link("asset", str(o.id), o.name) for o in facts.outlets[:MAX_LINKS] if o.id is not None),
            *_links(facts.consumers),
        ),
    )


def _consumers(consumers: Sequence[OtherDag]) -> list[str]:
    if not consumers:
        return ["No Dag is scheduled on it."]
    text = ["A Dag that is scheduled on several assets waits until its whole condition is met."]
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
        links=_links(facts.triggered),
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
        links=_links(tuple(dags.values())),
    )


def _links(dags: Sequence[OtherDag]) -> tuple[Link, ...]:
    return tuple(Link("dag", dag.dag_id, _link_text(dag)) for dag in dags[:MAX_LINKS])


def _link_text(dag: OtherDag) -> str:
    notes = [note for note in ("paused" if dag.paused else "", dag.note) if note]
    return f"{dag.dag_id} ({', '.join(notes)})" if notes else ""


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
