"""Writing the task instances that the scheduler will create, restore or remove because of a clear."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    String,
    Uuid,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.key_table import rows_of_keys
from safe_clear_plugin.airflow_api.scheduling import created_instances, gone_instances
from safe_clear_plugin.airflow_api.scheduling.gone_instances import Gone
from safe_clear_plugin.airflow_api.scheduling.integrity import (
    Checked,
    CheckedWhenExpanded,
    find_differences,
    find_other_lengths,
)
from safe_clear_plugin.airflow_api.scheduling.latest_tasks import map_indexes
from safe_clear_plugin.airflow_api.scheduling.map_lengths import MapLengths, read_lengths
from safe_clear_plugin.core.effects import CLEARED_EFFECTS, PENDING_EFFECTS, Effect
from safe_clear_plugin.core.inclusion import DAG_CHANGED, MAPPING_CHANGED, Reason
from safe_clear_plugin.core.keys import TaskInstanceKey
from safe_clear_plugin.core.outcomes import Outcome, OutcomeReason
from safe_clear_plugin.storage.tables import plan_task_instance

rows_ = plan_task_instance
REMOVED = "removed"


def add(checked: Checked, resets: bool, session: Session) -> bool:
    """Write the changes that the scheduler will make to the plan's runs before it evaluates their states.

    Return whether it compares one of them with another DAG version, so that it may remove task instances.

    In the common case it changes nothing. To know that takes two statements, or three if another version of
    the DAG has the same tasks; and one more if tasks are mapped over literals.
    """
    session.execute(checked.mark_verified(resets))
    is_compared = write(checked, session)
    when_expanded = CheckedWhenExpanded(checked.plan, checked.dag_id, checked.version)
    return _write_other_lengths(when_expanded, session) or is_compared


def write(checked: Checked, session: Session) -> bool:
    """Write the changes of the runs that are already marked. Return whether there are such runs."""
    compared = checked.runs(checked.compared()).with_only_columns(func.count())
    runs = session.scalar(compared) or 0
    if not runs:
        return False
    if found := find_differences(checked, runs, session):
        lengths = _lengths(checked, found.changed | found.missing, session)
        if found.changed:
            _write_changes(checked, found.changed, lengths, session)
        if found.missing:
            _write_missing(checked, found.missing, lengths, session)
        if found.expanding:
            later = created_instances.later_expanded(checked, found.expanding, PENDING_EFFECTS)
            _create(checked, later, MAPPING_CHANGED, session)
    return True


def _write_other_lengths(checked: CheckedWhenExpanded, session: Session) -> bool:
    """Write the task instances that come and go when mappings expand again in runs of the latest version."""
    task_ids = find_other_lengths(checked, session)
    if task_ids:
        _write_changes(checked, task_ids, MapLengths({}), session)
        later = created_instances.later_expanded(checked, task_ids, PENDING_EFFECTS)
        _create(checked, later, MAPPING_CHANGED, session)
    return bool(task_ids)


def _lengths(checked: Checked, task_ids: Collection[str], session: Session) -> MapLengths:
    wanted = [checked.tasks.dag.task_dict[id_] for id_ in checked.tasks.by_results if id_ in task_ids]
    if not wanted:
        return MapLengths({})
    return read_lengths(checked.plan, checked.dag_id, wanted, checked.runs(checked.verified), session)


def _keys(checked: Checked, task_ids: Collection[str], lengths: MapLengths, session: Session) -> FromClause:
    """Return the lengths of the tasks as rows. Of those that are not known, each map index goes."""
    tasks = [checked.tasks.dag.task_dict[id_] for id_ in checked.tasks.by_results if id_ in task_ids]
    runs = session.scalars(checked.runs(checked.verified)).all() if tasks else ()
    return rows_of_keys(
        [
            TaskInstanceKey(run_id, task.task_id, lengths.of(task, run_id) or 0)
            for run_id in runs
            for task in tasks
        ],
        "map_lengths",
    )


def _write_changes(
    checked: Checked, task_ids: Collection[str], lengths: MapLengths, session: Session
) -> None:
    keys = _keys(checked, task_ids, lengths, session)
    of_plan = Gone(checked, rows_, keys)
    gone = gone_instances.planned_and_gone(of_plan, CLEARED_EFFECTS).subquery("gone")
    session.execute(
        update(rows_)
        .where(rows_.c.plan_id == checked.plan.plan_id, *_same_key(rows_, gone))
        .values(
            foreseen_state=REMOVED,
            outcome=Outcome.REMOVED.value,
            outcome_reason=case(
                (gone.c.task_gone == 1, OutcomeReason.TASK_GONE.value),
                else_=OutcomeReason.MAP_INDEX_GONE.value,
            ),
        )
    )
    left_out = gone_instances.planned_and_gone(of_plan, (Effect.LEAVE_OUT,)).subquery("left_out")
    key = (rows_.c.run_id, rows_.c.task_id, rows_.c.map_index)
    session.execute(
        delete(rows_).where(
            rows_.c.plan_id == checked.plan.plan_id,
            rows_.c.effect == Effect.LEAVE_OUT.value,
            tuple_(*key).in_(select(left_out.c.run_id, left_out.c.task_id, left_out.c.map_index)),
        )
    )
    found = gone_instances.unplanned(Gone(checked, task_instance, keys), task_ids).subquery("found")
    _insert(_changed(checked, found), session)


def _changed(checked: Checked, found: FromClause) -> Select[Any]:
    gone = found.c.gone == 1
    return select(
        _plan_id(checked),
        found.c.run_id,
        found.c.task_id,
        found.c.map_index,
        found.c.id.label("task_instance_id"),
        found.c.state,
        found.c.try_number,
        found.c.dag_version_id,
        _either(gone, Effect.SCHEDULER_REMOVES, Effect.SCHEDULER_RESTORES).label("effect"),
        case((gone, REMOVED), else_=null()).label("after_state"),
        found.c.max_tries.label("after_max_tries"),
        found.c.after_dag_version_id,
        case((found.c.by_version == 1, DAG_CHANGED.words), else_=MAPPING_CHANGED.words).label("why"),
        _either(gone, Outcome.REMOVED, Outcome.RUNS).label("outcome"),
    )


def _write_missing(
    checked: Checked, task_ids: Collection[str], lengths: MapLengths, session: Session
) -> None:
    _create(checked, created_instances.missing_instances(checked, task_ids), DAG_CHANGED, session)
    if by_results := set(task_ids) & set(checked.tasks.by_results):
        missing = created_instances.missing_tasks(checked, by_results)
        values = [
            _created(checked, row, map_index)
            for row in session.execute(missing).all()
            for map_index in map_indexes(lengths.of(checked.tasks.dag.task_dict[row.task_id], row.run_id))
        ]
        if values:
            session.execute(insert(rows_), values)


def _created(checked: Checked, row: Any, map_index: int) -> dict[str, Any]:
    return {
        "plan_id": checked.plan.plan_id,
        "run_id": row.run_id,
        "task_id": row.task_id,
        "map_index": map_index,
        "effect": Effect.SCHEDULER_CREATES.value,
        "after_max_tries": checked.tasks.retries(row.task_id),
        "after_dag_version_id": checked.latest,
        "why": DAG_CHANGED.words,
        "outcome": Outcome.RUNS.value,
    }


def _create(checked: Checked, chosen: Select[Any], why: Reason, session: Session) -> None:
    found = chosen.subquery("found")
    created = select(
        _plan_id(checked),
        found.c.run_id,
        found.c.task_id,
        found.c.map_index,
        literal(Effect.SCHEDULER_CREATES.value).label("effect"),
        found.c.retries.label("after_max_tries"),
        cast(literal(checked.latest, Uuid()), Uuid()).label("after_dag_version_id"),
        literal(why.words).label("why"),
        literal(Outcome.RUNS.value).label("outcome"),
    )
    _insert(created, session)


def _insert(chosen: Select[Any], session: Session) -> None:
    session.execute(insert(rows_).from_select(chosen.selected_columns.keys(), chosen))


def _plan_id(checked: Checked) -> ColumnElement[Any]:
    return cast(literal(checked.plan.plan_id, Uuid()), Uuid()).label("plan_id")


def _either(condition: ColumnElement[bool], one: str, other: str) -> ColumnElement[Any]:
    return case((condition, literal(str(one), String(20))), else_=literal(str(other), String(20)))


def _same_key(one: FromClause, other: FromClause) -> list[ColumnElement[bool]]:
    return [one.c[name] == other.c[name] for name in ("run_id", "task_id", "map_index")]
