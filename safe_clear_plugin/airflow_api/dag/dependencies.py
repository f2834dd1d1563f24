"""Relations between the tasks of a DAG version: downstream tasks, and those a trigger rule evaluates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from airflow.serialization.definitions.mappedoperator import is_mapped
from packaging.version import Version as Release

RelationKind = Literal[
    "downstream",
    "upstream",
    "one_upstream",
    "setup",
    "mapped",
    "decided_by",
    "scope",
    "leaf",
    "stopped",
    "follows",
    "setup_for",
    "teardown_for",
    "uses_setup",
    "torn_down_by",
    "taken_downstream",
    "taken_upstream",
]
"""``one_upstream`` is for a trigger rule that does not wait for every task upstream, ``decided_by`` for a
branch or a short circuit, ``scope`` for the tasks between a setup and its teardown, which waits for them.

``leaf`` relates a task at the end of the DAG with itself. ``stopped`` relates a task with itself: it is
skipped for no reason of the DAG's own, unless a task that it ``follows`` was skipped or failed. Then come
those of :mod:`~safe_clear_plugin.airflow_api.dag.setups` and of
:mod:`~safe_clear_plugin.airflow_api.dag.relatives`.
"""

ONE_IS_ENOUGH = frozenset({"one_success", "one_failed", "one_done"})

SUCCESS_SKIPS = frozenset({"all_failed", "one_failed", "all_skipped"})
"""Trigger rules that can skip a task instance although everything upstream succeeded."""

_SINCE_3_3: bool = Release(version("apache-airflow")) >= Release("3.3")

WITHOUT_SUCCESS_IS_FAILED: bool = _SINCE_3_3
"""Whether none_failed_min_one_success without any success becomes upstream_failed (3.3), or waits (3.2)."""

REMOVED_IS_NO_FAILURE: bool = _SINCE_3_3
"""Whether what is removed upstream blocks nothing (3.3), or only no task instance with a map index (3.2)."""

ONE_SERVES_ALL: bool = not _SINCE_3_3
"""Whether in a mapped task group one map index upstream serves all (3.2), or each has its own (3.3)."""


@dataclass(frozen=True, slots=True)
class Relation:
    """The relation of a task to another one, and whether it is map index by map index.

    ``task_id`` is the affected task: with ``downstream`` it is downstream of the related task; with most
    other kinds, the related task is upstream of it.
    """

    task_id: str
    kind: RelationKind
    related_task_id: str
    same_map_index: bool = False


@dataclass(frozen=True, slots=True)
class Upstream:
    """The tasks that ``TriggerRuleDep`` and ``MappedTaskUpstreamDep`` evaluate for one task.

    ``direct`` and ``setups`` are the expected numbers of task instances. ``None`` means that one of the tasks
    is mapped, so the number of rows is expected.
    """

    task_id: str
    trigger_rule: str
    relations: tuple[Relation, ...]
    direct: int | None
    setups: int | None
    direct_setups: frozenset[str]
    """Those of the tasks directly upstream that are setups."""
    all_while_unexpanded: bool = False
    """Whether, until it is expanded, it goes by every map index of what shares its mapped task group."""
    scope: tuple[Relation, ...] = ()
    """Of a teardown: the tasks between its setups and itself that are not directly upstream."""
    in_scope: int | None = 0
    """The number of task instances that are expected of these, as for ``direct``."""

    @property
    def all_relations(self) -> tuple[Relation, ...]:
        """Return the relations to all tasks that it may wait for."""
        return (*self.relations, *self.scope)


def downstream_of(dag: Any, task_ids: Iterable[str], everywhere: Collection[str] = ()) -> Iterator[Relation]:
    """Yield, for each of the tasks, the tasks downstream of it whose data rests on its own.

    A setup or teardown provides no data, and teardowns use none. Within one mapped task group a map index
    rests on the same map index only, unless a way between the two leaves the group.

    ``everywhere`` are the tasks that stand for each other: a task that rests on several of them, at any map
    index, is related only to the first of them by name.
    """
    reached: dict[str, str] = {}
    for task_id in sorted(everywhere):
        _reach_at_any_index(dag.get_task(task_id), reached)
    pairs = [(related, task_id, False) for related, task_id in reached.items()]
    for task_id in task_ids:
        task = dag.get_task(task_id)
        if not _provides_data(task) or (task_id in everywhere and not _in_mapped_group(task)):
            continue
        found = reached_from(task).items()
        pairs += [(related, task_id, same) for related, same in found if related not in reached]
    for related, task_id, same in pairs:
        if not dag.get_task(related).is_teardown:
            yield Relation(related, "downstream", task_id, same)


def _reach_at_any_index(task: Any, reached: dict[str, str]) -> None:
    """Note what lies downstream of a task and of none before it, unless map indexes may matter."""
    if not _provides_data(task) or _in_mapped_group(task):
        return
    ahead = list(task.downstream_list)
    while ahead:
        relative = ahead.pop()
        if relative.task_id not in reached:
            reached[relative.task_id] = task.task_id
            ahead += relative.downstream_list


def _provides_data(task: Any) -> bool:
    return not (task.is_setup or task.is_teardown)


def _in_mapped_group(task: Any) -> bool:
    return task.get_closest_mapped_task_group() is not None


def skipped_only_when_stopped(dag: Any) -> Iterator[Relation]:
    """Yield the tasks that no branch and no trigger rule skips while all goes well, with those before them.

    If such a one is skipped though it never started, ``_stop_remaining_tasks`` did it.
    """
    for task in dag.tasks:
        before = task.upstream_list
        if trigger_rule(task) in SUCCESS_SKIPS or any(one.inherits_from_skipmixin for one in before):
            continue
        yield Relation(task.task_id, "stopped", task.task_id)
        yield from (Relation(task.task_id, "follows", one.task_id) for one in before)


def upstream_of(dag: Any, task_id: str) -> Upstream | None:
    """Return what decides whether a task starts, or ``None`` when nothing upstream does."""
    task = dag.get_task(task_id)
    rule = trigger_rule(task)
    looks_up = rule != "always" and bool(task.upstream_list)
    direct = {other.task_id: other for other in task.upstream_list} if looks_up else {}
    setups = {
        other.task_id: other
        for other in (task.get_upstreams_only_setups() if looks_up and not task.is_teardown else ())
        if other.task_id not in direct
    }
    apart = not (ONE_SERVES_ALL and rule in ONE_IS_ENOUGH and is_mapped(task.task_group))
    kind: RelationKind = "one_upstream" if rule in ONE_IS_ENOUGH else "upstream"
    relations = (
        *_related(task, kind, direct, apart=apart),
        *_related(task, "setup", setups, apart=apart),
        *(Relation(task_id, "mapped", id_) for id_ in sorted(mapped_over(task))),
    )
    if not relations:
        return None
    between = _between(dag, task) if looks_up and task.is_teardown else {}
    return Upstream(
        task_id,
        rule,
        relations,
        direct=_expected(direct.values()),
        setups=_expected(setups.values()),
        direct_setups=frozenset(id_ for id_, other in direct.items() if other.is_setup),
        all_while_unexpanded=not ONE_SERVES_ALL and rule in (*ONE_IS_ENOUGH, "none_failed_min_one_success"),
        scope=tuple(_related(task, "scope", between, apart=apart)),
        in_scope=_expected(between.values()),
    )


def _related(task: Any, kind: RelationKind, others: Mapping[str, Any], *, apart: bool) -> Iterator[Relation]:
    """Relate the task with others; where they are counted ``apart``, by map index if they share a mapping."""
    for id_, other in others.items():
        yield Relation(task.task_id, kind, id_, apart and share_mapping(task, other))


def _between(dag: Any, teardown: Any) -> dict[str, Any]:
    """Mirror ``TriggerRuleDep._evaluate_teardown_scope``: the tasks in scope by id."""
    indirect = teardown.get_flat_relative_ids(upstream=True) - teardown.upstream_task_ids
    setups = (task for task in teardown.upstream_list if task.is_setup)
    found = {id_ for setup in setups for id_ in indirect & setup.get_flat_relative_ids(upstream=False)}
    return {id_: dag.get_task(id_) for id_ in sorted(found)}


def reached_from(task: Any, *, upstream: bool = False) -> dict[str, bool]:
    """Return each relative → whether it is reached within a mapped task group of ``task`` only."""

    def next_to(one: Any) -> Iterable[Any]:
        return one.upstream_list if upstream else one.downstream_list  # type: ignore[no-any-return]

    found: dict[str, bool] = {}
    ahead = [(relative, share_mapping(task, relative)) for relative in next_to(task)]
    while ahead:
        relative, same = ahead.pop()
        known = found.get(relative.task_id)
        if known is False or (known is True and same):
            continue
        found[relative.task_id] = same
        ahead += [(further, same and share_mapping(task, further)) for further in next_to(relative)]
    return found


def share_mapping(one: Any, other: Any) -> bool:
    """Mirror ``_find_common_ancestor_mapped_group``: whether both lie in one mapped task group."""
    groups = {group.group_id for group in one.iter_mapped_task_groups()}
    return bool(groups) and any(group.group_id in groups for group in other.iter_mapped_task_groups())


def trigger_rule(task: Any) -> str:
    """Return the name of a task's trigger rule."""
    return str(getattr(task.trigger_rule, "value", task.trigger_rule))


def mapped_over(task: Any) -> set[str]:
    """Return the tasks from whose results a task, or the mapped task group around it, is expanded."""
    if is_mapped(task):
        return {operator.task_id for operator in task.iter_mapped_dependencies()}
    group = task.get_closest_mapped_task_group()
    return {operator.task_id for operator in group.iter_mapped_dependencies()} if group else set()


def _expected(tasks: Iterable[Any]) -> int | None:
    listed = list(tasks)
    return None if any(task.get_needs_expansion() for task in listed) else len(listed)
