"""Adds setups, teardowns, upstream and downstream of single task instances, rather than of tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dependencies import Relation
from safe_clear_plugin.airflow_api.dag.relatives import relatives_of
from safe_clear_plugin.airflow_api.dag.task_graph import Shape
from safe_clear_plugin.services.planning import shapes
from safe_clear_plugin.services.planning.resolution import Resolution
from safe_clear_plugin.storage.findings import task_relations
from safe_clear_plugin.storage.plans import plan_writer, related_writer


def add_related(plan_id: UUID, resolved: Resolution, session: Session, *, known: bool) -> int:
    """Write relatives of what failed, then setups and teardowns of everything; return how many rows."""
    written = 0
    if resolved.selection.adds_relatives:
        written += _add_relatives(plan_id, resolved, session, known=known)
    if resolved.selection.adds_setups:
        written += _add_companions(plan_id, resolved, session, known=known)
    return written


def _add_relatives(plan_id: UUID, resolved: Resolution, session: Session, *, known: bool) -> int:
    """Write what is upstream or downstream of what failed in its own run; return how many rows."""
    cleared = related_writer.cleared_tasks(plan_id, session)
    found = {
        shape.number: list(_relatives(resolved, shape, cleared[shape.number]))
        for shape in resolved.shapes
        if shape.number in cleared
    }
    if not task_relations.write_relations(plan_id, found, session):
        return 0
    plan_writer.insert_tasks(plan_id, shapes.other_rows(resolved.shapes), session)
    return related_writer.insert_relatives(
        plan_id, resolved.selection, resolved.latest.id, session, known=known
    )


def _relatives(
    resolved: Resolution, shape: Shape, cleared: related_writer.ClearedTasks
) -> Iterator[Relation]:
    dag, selection = shape.version.dag, resolved.selection
    # A setup or teardown that came along brings nothing more, and a task that the version has lost nothing.
    task_ids = shape.tasks_among(cleared.task_ids & shape.chosen)
    for upstream, asked in ((True, selection.include_upstream), (False, selection.include_downstream)):
        if asked and dag is not None:
            yield from relatives_of(dag, task_ids, cleared.everywhere, upstream=upstream)


def _add_companions(plan_id: UUID, resolved: Resolution, session: Session, *, known: bool) -> int:
    """Write the setups and teardowns of what is cleared that a filter has left out; return how many."""
    taken: dict[int, Collection[str]] = {}
    if resolved.selection.adds_relatives:
        cleared = related_writer.cleared_tasks(plan_id, session)
        taken = {shape: tasks.task_ids for shape, tasks in cleared.items()}
    if not task_relations.write_relations(plan_id, shapes.serving(resolved.shapes, taken), session):
        return 0
    return related_writer.insert_companions(
        plan_id, resolved.selection, resolved.latest.id, session, known=known
    )
