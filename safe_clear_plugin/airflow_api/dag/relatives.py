"""Upstream and downstream tasks that a clear includes with single task instances."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from safe_clear_plugin.airflow_api.dag.dependencies import Relation, RelationKind, reached_from


def relatives_of(
    dag: Any, task_ids: Iterable[str], everywhere: Collection[str], *, upstream: bool
) -> Iterator[Relation]:
    """Yield each task upstream, or downstream, of each of the tasks, as ``partial_subset`` finds them.

    Within one mapped task group they go map index by map index, unless a way between the two leaves it.
    ``everywhere`` are those of the tasks that are taken, not mapped, in each run: what they lead to needs no
    relations of its own.
    """
    kind: RelationKind = "taken_upstream" if upstream else "taken_downstream"
    covered: set[str] = set()
    for task_id in sorted(task_ids, key=lambda one: (one not in everywhere, one)):
        if task_id in covered:
            continue
        found = reached_from(dag.get_task(task_id), upstream=upstream)
        for related, same in found.items():
            yield Relation(related, kind, task_id, same)
        if task_id in everywhere:
            covered.update(related for related, same in found.items() if not same)
