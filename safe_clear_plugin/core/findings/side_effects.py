"""What else runs again, in other DAGs, because these tasks do.

Titles and details name no other DAG: not everyone who reads the plan may know of them. They stand in
``links``, which a page shows as far as its reader may see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.findings.finding import Check, Finding, Link
from safe_clear_plugin.core.formats import verb
from safe_clear_plugin.core.plan_text import MANY, count

MOST_LINKS = 200


@dataclass(frozen=True, slots=True)
class Outlet:
    """An asset, or an alias of assets, that a cleared task updates."""

    id: int | None
    """Airflow's id of the asset; an alias has none."""
    name: str
    alias: bool = False


@dataclass(frozen=True, slots=True)
class OtherDag:
    """Another DAG that something happens to; ``paused`` if it is paused, or gone from the DAG files."""

    dag_id: str
    paused: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class FiringFacts:
    """What the cleared tasks set off elsewhere."""

    updates: int = 0
    """Task instances that update an asset."""
    outlets: tuple[Outlet, ...] = ()
    consumers: tuple[OtherDag, ...] = ()
    """DAGs that are scheduled on what is updated."""
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


def assets(facts: FiringFacts) -> Finding | None:
    """Asset events (``AssetManager.register_asset_change``), and the DAGs that they trigger."""
    if not facts.outlets:
        return None
    awake = [dag for dag in facts.consumers if not dag.paused]
    what = count(len(facts.outlets), "asset")
    title = f"{count(facts.updates, 'task instance')} {verb(facts.updates, 'updates', 'update')} {what} again"
    if awake:
        title += f", which {verb(len(facts.outlets), 'triggers', 'trigger')} {count(len(awake), 'DAG')}"
    names = ", ".join(f"`{outlet.name}`" for outlet in facts.outlets[:MANY])
    more = f" and {len(facts.outlets) - MANY:,} more" if len(facts.outlets) > MANY else ""
    alias = " What an alias stands for is only known when the task runs." * any(
        o.alias for o in facts.outlets
    )
    return Finding(
        "assets",
        "info",
        title,
        f"Each success is an event of {names}{more}. {_consumers(facts.consumers)}{alias}",
        facts.updates,
        links=(
            *(Link("asset", str(o.id), o.name) for o in facts.outlets[:MOST_LINKS] if o.id is not None),
            *_links(facts.consumers),
        ),
    )


def _consumers(consumers: Sequence[OtherDag]) -> str:
    if not consumers:
        return "No DAG is scheduled on it."
    text = (
        "A DAG that is scheduled on several assets waits until all that its condition asks for are updated."
    )
    if paused := sum(dag.paused for dag in consumers):
        text += f" {count(paused, 'DAG')} {verb(paused, 'is', 'are')} paused and will miss it."
    return text


def triggers(facts: FiringFacts) -> Finding | None:
    """``TriggerDagRunOperator`` among the cleared tasks."""
    if not facts.triggering:
        return None
    many = facts.triggering
    title = f"{count(many, 'task instance')} {verb(many, 'triggers', 'trigger')}"
    known = len(facts.triggered)
    title += f" {count(known, 'other DAG')} again" if known else " other DAGs again"
    detail = []
    if facts.fixed_runs:
        detail.append(
            f"{_tasks(facts.fixed_runs)} {verb(len(facts.fixed_runs), 'asks', 'ask')} for a certain run: "
            "if it is still there the task fails, unless `reset_dag_run` clears that run, or "
            "`skip_when_already_exists` skips the task."
        )
    else:
        detail.append("Each makes a new dag run, beside the one that it made before.")
    if facts.templated:
        detail.append(f"Which DAG {_tasks(facts.templated)} triggers is only known when it runs.")
    if paused := sum(dag.paused for dag in facts.triggered):
        detail.append(f"{count(paused, 'DAG')} {verb(paused, 'is', 'are')} paused: the runs wait there.")
    return Finding("triggers", "info", title, " ".join(detail), many, links=_links(facts.triggered))


def _tasks(task_ids: Sequence[str]) -> str:
    names = ", ".join(f"`{task_id}`" for task_id in task_ids[:MANY])
    return f"{names} and {len(task_ids) - MANY:,} more" if len(task_ids) > MANY else names


def waited_for(facts: FiringFacts) -> Finding | None:
    """Sensors of other DAGs, and markers; Airflow 3 clears nothing there (``SerializedDAG.clear``)."""
    dags = {dag.dag_id: dag for dag in (*facts.marked, *facts.waiting)}
    if not dags:
        return None
    number = len(dags)
    return Finding(
        "waited_for",
        "info",
        f"{count(number, 'other DAG')} {verb(number, 'waits', 'wait')} for these tasks",
        "By `ExternalTaskSensor`, or an `ExternalTaskMarker` says so. Airflow clears nothing there: a sensor "
        "that is done stays done, and what follows it keeps the old data; one that is waiting waits on.",
        number,
        remedy="Clear the task instances there too, once these are done.",
        links=_links(tuple(dags.values())),
    )


def _links(dags: Sequence[OtherDag]) -> tuple[Link, ...]:
    return tuple(Link("dag", dag.dag_id, _text(dag)) for dag in dags[:MOST_LINKS])


def _text(dag: OtherDag) -> str:
    notes = [note for note in ("paused" if dag.paused else "", dag.note) if note]
    return f"{dag.dag_id} ({', '.join(notes)})" if notes else ""


CHECKS: tuple[Check[FiringFacts], ...] = (
    Check("assets", "assets that are updated again", assets),
    Check("triggers", "DAGs that are triggered again", triggers),
    Check("waited_for", "other DAGs that wait for these tasks", waited_for),
)
