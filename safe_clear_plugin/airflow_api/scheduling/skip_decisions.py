"""Tasks that decide whether others run, and their decisions (``NotPreviouslySkippedDep``).

A branch or a short circuit leaves its decision in an XCom. The scheduler goes by it for each task directly
behind, as long as the branch is finished: also when only what is behind is cleared.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from airflow.models.xcom import XComModel
from airflow.serialization.definitions.mappedoperator import is_mapped
from sqlalchemy import ColumnElement, FromClause, Text, and_, cast

from safe_clear_plugin.airflow_api.dag.dependencies import ONE_IS_ENOUGH, trigger_rule
from safe_clear_plugin.airflow_api.platform.airflow_tables import xcom
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import SKIPS_BEHIND_ONE

KEY = "skipmixin_key"
SKIPPED, FOLLOWED = "skipped", "followed"


@dataclass(frozen=True, slots=True)
class EarlyTask:
    """A task that may start without the decision, with the other tasks upstream that may let it start."""

    task_id: str
    trigger_rule: str
    others: frozenset[str]
    needs_others: bool


@dataclass(frozen=True, slots=True)
class Decider:
    """A task that inherits from ``SkipMixin``, with the tasks of a plan that it can skip."""

    task_id: str
    children: frozenset[str]
    """Tasks directly downstream."""
    further: frozenset[str]
    """Tasks further downstream, which a short circuit skips itself."""
    mapped: bool
    """Whether its decision holds for the same map index only."""
    latest_only: bool
    """Whether it decides by the date of the run alone, if it runs."""
    may_be_skipped: bool
    """Whether a branch upstream of it may skip it."""
    early_tasks: tuple[EarlyTask, ...] = ()
    """If it decides by the date: those directly downstream that may start before, or without it."""


def deciders(dag: Any, task_ids: Collection[str]) -> Iterator[Decider]:
    """Yield the tasks of a DAG that can skip some of ``task_ids``.

    In a mapped task group a decision is left at the map index, but looked for at none: nothing is skipped.
    """
    for task in dag.task_dict.values():
        if not task.inherits_from_skipmixin or task.get_closest_mapped_task_group() is not None:
            continue
        children = frozenset(task.downstream_task_ids).intersection(task_ids)
        mapped = is_mapped(task)
        further = frozenset[str]() if mapped or _is_branch(task) else _further(task, task_ids)
        if children or further:
            latest_only = is_latest_only(task) and not mapped
            may_be_skipped = _is_behind_branch(task, task_ids)
            early_tasks = tuple(_early_tasks(dag, task, children, may_be_skipped)) if latest_only else ()
            yield Decider(task.task_id, children, further, mapped, latest_only, may_be_skipped, early_tasks)


def _is_behind_branch(task: Any, task_ids: Collection[str]) -> bool:
    return any(
        other.inherits_from_skipmixin and other.task_id in task_ids and not is_latest_only(other)
        for other in task.get_flat_relatives(upstream=True)
    )


def _early_tasks(dag: Any, task: Any, children: Collection[str], may_be_skipped: bool) -> Iterator[EarlyTask]:
    """Yield what may start before the task decides, or although it is skipped.

    What is behind the task itself comes too late for that; what decides by the date skips it all the same.
    """
    behind = {task.task_id, *task.get_flat_relative_ids(upstream=False)}
    for child in (dag.task_dict[child_id] for child_id in sorted(children)):
        others = frozenset(
            other.task_id
            for other in child.upstream_list
            if other.task_id not in behind and not is_latest_only(other)
        )
        rule = trigger_rule(child)
        if rule == "always" or (may_be_skipped and rule not in SKIPS_BEHIND_ONE):
            yield EarlyTask(child.task_id, rule, others, needs_others=False)
        elif rule in ONE_IS_ENOUGH and others:
            yield EarlyTask(child.task_id, rule, others, needs_others=True)


def is_latest_only(task: Any) -> bool:
    """Whether a task is a ``LatestOnlyOperator``; a class made from it looks like any branch."""
    return bool(task.task_type == "LatestOnlyOperator")


def _is_branch(task: Any) -> bool:
    """Whether it decides of what is directly behind only, as the operators named after branches do.

    Another one may be a short circuit, which skips all that is behind it unless it is told to respect trigger
    rules; a serialized DAG does not have that argument.
    """
    return "Branch" in task.task_type or is_latest_only(task)


def _further(task: Any, task_ids: Collection[str]) -> frozenset[str]:
    """Return the tasks further downstream, without teardowns."""
    found: dict[str, Any] = {}
    ahead = [relative for child in task.downstream_list for relative in child.downstream_list]
    while ahead:
        relative = ahead.pop()
        if relative.task_id not in found:
            found[relative.task_id] = relative
            ahead += relative.downstream_list
    direct = task.downstream_task_ids
    return frozenset(
        task_id
        for task_id, relative in found.items()
        if task_id in task_ids and task_id not in direct and not relative.is_teardown
    )


def decision_text() -> ColumnElement[str]:
    """Return the decision in an XCom as text, which can be compared and grouped."""
    return cast(xcom.c.value, Text())


def is_decision_of(runs: FromClause, task_ids: Collection[str]) -> ColumnElement[bool]:
    """Whether an XCom is a decision of one of the tasks in a run of the plan."""
    return and_(
        xcom.c.dag_run_id == runs.c.dag_run_id, xcom.c.task_id.in_(sorted(task_ids)), xcom.c.key == KEY
    )


def skipped_by(text: str | None, children: Collection[str]) -> list[str]:
    """Return which of the tasks directly behind a decision skips."""
    if text is None:
        return []
    value = _read(text)
    if not isinstance(value, dict):
        return []
    followed, also = value.get(FOLLOWED) or (), value.get(SKIPPED) or ()
    if not all(isinstance(tasks, (list, tuple, set, str)) for tasks in (followed, also)):
        return []
    skipped = {child for child in children if child not in followed} if FOLLOWED in value else set()
    return sorted(skipped.union(child for child in children if child in also))


def _read(text: str) -> Any:
    """Return the value of an XCom; nothing if it is not what an operator writes: the API takes any text."""
    try:
        return XComModel.deserialize_value(SimpleNamespace(value=json.loads(text)))
    except (ImportError, ValueError, TypeError, KeyError, AttributeError):
        return None
