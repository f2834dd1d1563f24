"""Reads the parts of a deserialized DAG that a plan depends on.

If a new version has the same parts, a plan stays right. ``tests/db/test_dag_structure.py`` lists the other
parts of a serialized DAG, each with the reason why it does not count: texts, tags and params for people,
arguments of operators, and how long and how often a task may try once it runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple
from datetime import date, timedelta
from typing import Any

from airflow.serialization.definitions.mappedoperator import is_mapped
from airflow.serialization.definitions.notset import NOTSET, is_arg_set
from airflow.serialization.definitions.xcom_arg import SchedulerPlainXComArg, SchedulerXComArg

from safe_clear_plugin.airflow_api.dag.dependencies import trigger_rule
from safe_clear_plugin.airflow_api.dag.outlets_and_triggers import inlets, marked_dag_ids, outlets, triggers
from safe_clear_plugin.core.dag_structure import OF_DAG, Attributes, Structure

Reader = Callable[[Any], Any]

SAME_NAME_OF_TASK = (
    # The task itself.
    "task_type",
    # When it starts, and where.
    "depends_on_past",
    "wait_for_downstream",
    "ignore_first_depends_on_past",
    "wait_for_past_depends_before_skipping",
    "start_date",
    "end_date",
    "executor",
    "pool",
    "pool_slots",
    "priority_weight",
    "queue",
    "max_active_tis_per_dag",
    "max_active_tis_per_dagrun",
    # The outcome of the task and of its run.
    "retries",
    "is_setup",
    "is_teardown",
    "on_failure_fail_dagrun",
    "inherits_from_skipmixin",
    "has_on_execute_callback",
    "has_on_failure_callback",
    "has_on_retry_callback",
    "has_on_skipped_callback",
    "has_on_success_callback",
)
SAME_NAME_OF_DAG = (
    "catchup",
    "dagrun_timeout",
    "disable_bundle_versioning",
    "end_date",
    "fail_fast",
    "has_on_failure_callback",
    "has_on_success_callback",
    "max_active_runs",
    "max_active_tasks",
    "max_consecutive_failed_dag_runs",
)


def structure_of(dag: Any) -> Structure:
    """Return the parts of a DAG that plans depend on; empty without a DAG."""
    if dag is None:
        return {}
    tasks: Mapping[str, Any] = dag.task_dict
    return {
        OF_DAG: _attributes(dag, SAME_NAME_OF_DAG, OTHERS_OF_DAG),
        **{id_: _attributes(task, SAME_NAME_OF_TASK, OTHERS_OF_TASK) for id_, task in tasks.items()},
    }


def _attributes(node: Any, names: tuple[str, ...], others: Mapping[str, Reader]) -> Attributes:
    found = {name: _plain(getattr(node, name, None)) for name in names}
    found.update((name, read(node)) for name, read in others.items())
    return {
        name: value
        for name, value in found.items()
        if value is not None and value is not False and value != []
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; an object by its class, as its address says nothing."""
    value = getattr(value, "value", value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return _class_name(value)


def _class_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _assets(found: Iterable[Any]) -> list[list[Any]]:
    return [[type(one).__name__, getattr(one, "name", None), getattr(one, "uri", None)] for one in found]


def _mapping(task: Any) -> list[Any]:
    """Return what a task is mapped over, by itself and by the task groups around it."""
    own = [_expansion(task._get_specified_expand_input())] if is_mapped(task) else []
    return own + [
        [group.group_id, *_expansion(group._expand_input)] for group in task.iter_mapped_task_groups()
    ]


def _expansion(expand_input: Any) -> list[Any]:
    value = expand_input.value
    if isinstance(value, SchedulerXComArg) or not isinstance(value, Mapping):
        return [expand_input.EXPAND_INPUT_TYPE, _length(value)]
    return [expand_input.EXPAND_INPUT_TYPE, {name: _length(one) for name, one in value.items()}]


def _length(value: Any) -> Any:
    """Return what says how many map indexes a value makes: its length, or the results that have one."""
    if not isinstance(value, SchedulerXComArg):
        return len(value)
    if isinstance(value, SchedulerPlainXComArg):
        return [value.operator.task_id, value.key]
    args = getattr(value, "args", None) or [value.arg]
    return [type(value).__name__, *map(_length, args), is_arg_set(getattr(value, "fillvalue", NOTSET))]


def _triggers(task: Any) -> list[Any]:
    return [list(astuple(found)) for found in triggers([task])] + sorted(marked_dag_ids([task]))


def _timetable(dag: Any) -> list[Any]:
    # As it is kept: a tuple becomes a list.
    return [_class_name(dag.timetable), json.loads(json.dumps(dag.timetable.serialize(), default=str))]


def _upstream(task: Any) -> list[str]:
    return sorted(task.upstream_task_ids)


OTHERS_OF_TASK: Mapping[str, Reader] = {
    "upstream": _upstream,
    "trigger_rule": trigger_rule,
    "weight_rule": lambda task: _plain(task.weight_rule),
    "inlets": lambda task: _assets(inlets(task)),
    "outlets": lambda task: _assets(outlets(task)),
    "mapping": _mapping,
    "triggers": _triggers,
}
OTHERS_OF_DAG: Mapping[str, Reader] = {
    # Whether it has any: the ids of deadlines are others in each version.
    "deadline": lambda dag: bool(getattr(dag, "deadline", None)),
    "timetable": _timetable,
    "timezone": lambda dag: str(dag.timezone),
}
