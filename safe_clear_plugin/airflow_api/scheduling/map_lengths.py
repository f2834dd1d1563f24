"""The number of task instances of a mapped task in each dag run, read for many runs at a time.

Mirrors ``get_mapped_ti_count`` and ``get_task_map_length``, which ask the database run by run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from airflow.models.taskmap import TaskMap
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from airflow.serialization.definitions.mappedoperator import is_mapped
from airflow.serialization.definitions.notset import is_arg_set
from airflow.serialization.definitions.xcom_arg import (
    SchedulerConcatXComArg,
    SchedulerMapXComArg,
    SchedulerPlainXComArg,
    SchedulerXComArg,
    SchedulerZipXComArg,
)
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import is_one_of
from safe_clear_plugin.airflow_api.platform.plan_tables import PlanTables
from safe_clear_plugin.airflow_api.platform.task_states import is_unfinished

Lengths = Mapping[str, int]
"""The length of what each task has returned in one run; none for one that has not, or not yet."""


@dataclass(frozen=True)
class MapLengths:
    """The lengths that mapped tasks expand over, in each of some dag runs."""

    by_run: Mapping[str, Lengths]

    def of(self, task: Any, run_id: str) -> int | None:
        """Return how many task instances a mapped task has in a run; ``None`` while that is not known."""
        lengths = self.by_run.get(run_id, {})
        found = [_expanded_length(value, lengths) for value in _expand_inputs(task)]
        known = [length for length in found if length is not None]
        return prod(known) if len(known) == len(found) else None


def read_lengths(
    plan: PlanTables, dag_id: str, tasks: Collection[Any], run_ids: Select[Any], session: Session
) -> MapLengths:
    """Read what the tasks expand over in the runs that ``run_ids`` selects, as it will be after the clear."""
    sources = {arg.operator.task_id: arg.operator for task in tasks for arg in _sources(task)}
    mapped = [task_id for task_id, operator in sources.items() if is_mapped(operator)]
    plain = [task_id for task_id in sources if task_id not in mapped]
    by_run: dict[str, dict[str, int]] = {}
    if plain:
        for row in session.execute(_returned(dag_id, plain, run_ids)):
            by_run.setdefault(row.run_id, {})[row.task_id] = row.length
    if mapped:
        runs = list(session.scalars(run_ids))
        counts = {
            (row.run_id, row.task_id): row.n for row in session.execute(_xcoms(dag_id, mapped, run_ids))
        }
        waiting = {(row.run_id, row.task_id) for row in _unfinished(plan, dag_id, mapped, run_ids, session)}
        for key in ((run_id, task_id) for run_id in runs for task_id in mapped):
            if key not in waiting:
                by_run.setdefault(key[0], {})[key[1]] = counts.get(key, 0)
    return MapLengths(by_run)


def _returned(dag_id: str, task_ids: list[str], run_ids: Select[Any]) -> Select[Any]:
    return select(TaskMap.run_id, TaskMap.task_id, TaskMap.length).where(
        TaskMap.dag_id == dag_id,
        TaskMap.task_id.in_(task_ids),
        TaskMap.map_index < 0,
        is_one_of(TaskMap.run_id, run_ids),
    )


def _xcoms(dag_id: str, task_ids: list[str], run_ids: Select[Any]) -> Select[Any]:
    return (
        select(XComModel.run_id, XComModel.task_id, func.count().label("n"))
        .where(
            XComModel.dag_id == dag_id,
            XComModel.task_id.in_(task_ids),
            XComModel.map_index >= 0,
            XComModel.key == XCOM_RETURN_KEY,
            is_one_of(XComModel.run_id, run_ids),
        )
        .group_by(XComModel.run_id, XComModel.task_id)
    )


def _unfinished(
    plan: PlanTables, dag_id: str, task_ids: list[str], run_ids: Select[Any], session: Session
) -> Iterator[Any]:
    """Yield run and task of those with a task instance that is unfinished, or will be after the clear."""
    ti, rows = task_instance, plan.task_instances
    now = select(ti.c.run_id, ti.c.task_id).where(
        ti.c.dag_id == dag_id,
        ti.c.task_id.in_(task_ids),
        is_one_of(ti.c.run_id, run_ids),
        is_unfinished(ti.c.state),
    )
    cleared = select(rows.c.run_id, rows.c.task_id).where(
        rows.c.plan_id == plan.plan_id,
        rows.c.task_id.in_(task_ids),
        is_one_of(rows.c.run_id, run_ids),
        or_(rows.c.after_state.is_(None), is_unfinished(rows.c.after_state)),
    )
    yield from session.execute(now.union(cleared))


def _expand_inputs(task: Any) -> Iterator[Any]:
    if is_mapped(task):
        yield task._get_specified_expand_input()
    for group in task.iter_mapped_task_groups():
        yield group._expand_input


def _expanded_length(expand_input: Any, lengths: Lengths) -> int | None:
    """Mirror ``get_total_map_length`` of the two kinds of expand input."""
    value = expand_input.value
    if expand_input.EXPAND_INPUT_TYPE == "list-of-dicts":
        return _length(value, lengths)
    found = [_length(one, lengths) for one in value.values()]
    known = [length for length in found if length is not None]
    if not found or len(known) < len(found):
        return None if found else 0
    return prod(known)


def _length(value: Any, lengths: Lengths) -> int | None:
    """Mirror ``get_task_map_length``."""
    if not isinstance(value, SchedulerXComArg):
        return len(value)
    if isinstance(value, SchedulerPlainXComArg):
        return lengths.get(value.operator.task_id)
    if isinstance(value, SchedulerMapXComArg):
        return _length(value.arg, lengths)
    return _joined_length(value, lengths)


def _joined_length(value: Any, lengths: Lengths) -> int | None:
    """Return the length of several results that are zipped or concatenated."""
    found = [_length(arg, lengths) for arg in value.args]
    known = [length for length in found if length is not None]
    if len(known) < len(found):
        return None
    if isinstance(value, SchedulerZipXComArg):
        return max(known) if is_arg_set(value.fillvalue) else min(known)
    return sum(known)


def _sources(task: Any) -> Iterator[SchedulerPlainXComArg]:
    for expand_input in _expand_inputs(task):
        values = expand_input.value
        for value in values.values() if isinstance(values, dict) else [values]:
            yield from _plain(value)


def _plain(value: Any) -> Iterator[SchedulerPlainXComArg]:
    if isinstance(value, SchedulerPlainXComArg):
        yield value
    elif isinstance(value, SchedulerMapXComArg):
        yield from _plain(value.arg)
    elif isinstance(value, (SchedulerZipXComArg, SchedulerConcatXComArg)):
        for arg in value.args:
            yield from _plain(arg)
