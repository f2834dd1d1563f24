"""The tasks that a clear includes: matched ones, relatives, setups and teardowns, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from airflow.models.expandinput import NotFullyPopulated
from airflow.models.taskinstance import find_relevant_relatives
from sqlalchemy.orm import Session

from safe_clear_plugin.core.inclusion import MATCHED, Reason, ReasonKind

Marker = tuple[str, int | None]
"""A task id with one map index, or with ``None`` for all of them."""


def with_relatives(
    dag: Any, matched: Iterable[str], *, upstream: bool, downstream: bool
) -> dict[str, Reason]:
    """Return the reason by task id: the matched tasks and the tasks cleared with them, all map indexes.

    Relatives of the matched tasks only, then the setups and teardowns of everything taken, as
    ``post_clear_task_instances`` and ``SerializedDAG.clear`` add them.
    """
    wanted = set(matched)
    why = {task_id: MATCHED for task_id in dag.task_dict if task_id in wanted}
    if upstream or downstream:
        _add(why, _subset(dag, list(why), upstream=upstream, downstream=downstream))
    _add(why, _subset(dag, list(why), upstream=False, downstream=False))
    return why


def with_relatives_of_index(
    dag: Any, task_id: str, map_index: int, *, upstream: bool, downstream: bool
) -> dict[Marker, Reason]:
    """Return the reason by marker: one map index of a task in several runs, and the tasks cleared with it.

    Airflow cannot tell over several runs which map indexes belong together, and takes all of a relative's. A
    setup that is included with its own relatives is taken for all map indexes as well.
    """
    spread = {"upstream": upstream, "downstream": downstream}
    whole = with_relatives(dag, [task_id], **spread)
    found = _subset(dag, [task_id], **spread) if upstream or downstream else ()
    returns = any(relative == task_id for relative, _ in found)
    return {
        (relative, map_index if relative == task_id and not returns else None): why
        for relative, why in whole.items()
    }


def with_mapped_relatives(
    dag: Any, task_id: str, map_index: int, run_id: str, *, upstream: bool, downstream: bool, session: Session
) -> dict[Marker, Reason]:
    """Return the reason by marker: one map index of a task in one run, and the tasks cleared with it.

    As ``find_relevant_relatives`` finds them, once a direction, from the matched task only. Where the run has
    not expanded a mapping, it raises; the unexpanded task instance (map index -1) is taken instead.
    """
    uncopied: Any = _Uncopied(dag)
    chosen: dict[Marker, Reason] = {}
    for direction, asked in ((ReasonKind.UPSTREAM, upstream), (ReasonKind.DOWNSTREAM, downstream)):
        if not asked:
            continue
        reason = Reason(direction, task_id, map_index)
        try:
            found = find_relevant_relatives(
                [],
                [(task_id, map_index)],
                direction=direction.value,
                dag=uncopied,
                run_id=run_id,
                session=session,
            )
            markers = [item if isinstance(item, tuple) else (item, None) for item in found]
        except NotFullyPopulated:
            markers = list(_unexpanded_relatives(dag, task_id, upstream=direction == ReasonKind.UPSTREAM))
        for marker in markers:
            chosen.setdefault(marker, reason)
    whole = {task: why for (task, index), why in chosen.items() if index is None}
    if task_id not in whole:
        chosen = {(task_id, map_index): MATCHED, **chosen}
    _drop_single_indexes_of(whole, chosen)
    everything = {task: why for (task, _), why in chosen.items()}
    taken = set(everything)
    _add(everything, _subset(dag, list(everything), upstream=False, downstream=False))
    chosen.update({(task, None): why for task, why in everything.items() if task not in taken})
    return chosen


def common_mapped_groups(dag: Any, task_ids: Iterable[str]) -> set[str]:
    """Return the mapped task groups that hold all of these tasks."""
    groups = [
        {group.group_id for group in dag.get_task(task_id).iter_mapped_task_groups()} for task_id in task_ids
    ]
    return set.intersection(*groups) if groups else set()


def with_relatives_of_group(
    dag: Any,
    task_ids: list[str],
    map_index: int,
    run_id: str | None,
    *,
    upstream: bool,
    downstream: bool,
    session: Session,
) -> dict[Marker, Reason]:
    """Return why each marker is taken: one map index of a mapped task group's tasks, and their relatives.

    The group's tasks are taken at this map index alone. Of tasks outside of it, in one run those map
    indexes are taken that Airflow finds for each task; over several runs, with ``run_id`` of ``None``, all.
    """
    groups = common_mapped_groups(dag, task_ids)
    chosen: dict[Marker, Reason] = {(task_id, map_index): MATCHED for task_id in task_ids}
    spread = {"upstream": upstream, "downstream": downstream}
    found: list[dict[Marker, Reason]]
    if run_id is None:
        found = [{(task, None): why for task, why in with_relatives(dag, task_ids, **spread).items()}]
    else:
        found = [
            with_mapped_relatives(dag, task_id, map_index, run_id, session=session, **spread)
            for task_id in task_ids
        ]
    for markers in found:
        for (task_id, index), why in markers.items():
            inside = groups & {group.group_id for group in dag.get_task(task_id).iter_mapped_task_groups()}
            chosen.setdefault((task_id, map_index if inside else index), why)
    _drop_single_indexes_of({task: why for (task, index), why in chosen.items() if index is None}, chosen)
    return chosen


class _Uncopied:
    """A DAG as ``find_relevant_relatives`` uses it, which tells its subsets without copying tasks.

    ``SerializedDAG.partial_subset`` shares what a mapped task group consists of between the copy and the DAG
    that it is asked of: that DAG loses task groups, and is of no use afterwards.
    """

    def __init__(self, dag: Any) -> None:
        self.get_task = dag.get_task
        self._dag = dag

    def partial_subset(
        self,
        task_ids: Iterable[str],
        include_downstream: bool,
        include_upstream: bool,
        exclude_original: bool,
    ) -> SimpleNamespace:
        assert exclude_original
        found = _subset(self._dag, list(task_ids), upstream=include_upstream, downstream=include_downstream)
        return SimpleNamespace(task_dict=dict(found))


def _drop_single_indexes_of(whole: dict[str, Reason], chosen: dict[Marker, Reason]) -> None:
    for marker in [m for m in chosen if m[1] is not None and m[0] in whole]:
        del chosen[marker]


def _unexpanded_relatives(dag: Any, task_id: str, *, upstream: bool) -> Iterator[Marker]:
    """Yield relatives: in the same mapping the task instance that is to be expanded, of the others all."""
    task = dag.get_task(task_id)
    mappings = {group.group_id for group in task.iter_mapped_task_groups()}
    for relative in task.get_flat_relatives(upstream=upstream):
        shared = any(group.group_id in mappings for group in relative.iter_mapped_task_groups())
        yield relative.task_id, -1 if shared else None


def _add(why: dict[str, Reason], found: Iterable[tuple[str, Reason]]) -> None:
    for task_id, reason in found:
        why.setdefault(task_id, reason)


def _subset(
    dag: Any, task_ids: list[str], *, upstream: bool, downstream: bool
) -> Iterator[tuple[str, Reason]]:
    """Yield the tasks that ``SerializedDAG.partial_subset`` adds to ``task_ids``, without copying the DAG."""
    given = set(task_ids)
    for task_id in task_ids:
        task = dag.get_task(task_id)
        if downstream:
            for relative in task.get_flat_relatives(upstream=False):
                yield relative.task_id, Reason(ReasonKind.DOWNSTREAM, task_id)
                if relative.task_id not in given:
                    yield from _setups_and_teardowns_of(relative)
        if upstream:
            for relative in task.get_upstreams_follow_setups():
                yield relative.task_id, Reason(ReasonKind.UPSTREAM, task_id)
        else:
            yield from _setups_and_teardowns_of(task)
        if task.is_setup and not downstream:
            for follower in task.downstream_list:
                if follower.is_teardown:
                    yield follower.task_id, Reason(ReasonKind.TEARDOWN, task_id)


def _setups_and_teardowns_of(task: Any) -> Iterator[tuple[str, Reason]]:
    if task.is_setup or task.is_teardown:
        return
    for other in task.get_upstreams_only_setups_and_teardowns():
        kind = ReasonKind.TEARDOWN if other.is_teardown else ReasonKind.SETUP
        yield other.task_id, Reason(kind, task.task_id)
