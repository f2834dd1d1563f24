"""The rows of other tables of Airflow that belong to the task instances and dag runs of a batch, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow.models.hitl import HITLDetail
from sqlalchemy import FromClause, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import (
    deadline,
    task_instance,
    task_instance_history,
    task_reschedule,
)
from safe_clear_plugin.airflow_api.platform.joins import (
    NESTED_LOOPS,
    exists_of_task,
    is_one_of,
    is_same,
    of_dag,
    settings_columns,
)


@dataclass(frozen=True, slots=True)
class RelatedRows:
    """The number of rows of each kind. Most batches have few kinds, and the others need not be read."""

    task_instances: int
    """Of the dag runs, be they cleared or not."""
    versionless: int
    """Those of them without a DAG version."""
    deadlines: int
    """Of the dag runs."""
    reschedules: int
    questions: int
    """To a person (``HITLDetail``)."""
    tries: int
    """In the history, under the ids of the cleared task instances."""
    this_try: int
    """In the history: the very try that is cleared, under any id."""


def count_related_rows(
    dag_id: str, run_ids: Sequence[str], run_pks: Sequence[int], wanted: FromClause, session: Session
) -> RelatedRows:
    """Count the rows that belong to the runs, and to the task instances whose ids ``wanted`` selects.

    To be called within :func:`~safe_clear_plugin.airflow_api.platform.joins.join_runs`. Afterwards PostgreSQL
    joins with nested loops again, as Airflow's own statements need it to.
    """
    ti, history = task_instance, task_instance_history
    of_runs = (
        select(func.count().label("all"), func.count(ti.c.dag_version_id).label("with_version"))
        .where(of_dag(ti, dag_id), ti.c.run_id.in_(run_ids))
        .subquery()
        .c
    )
    wanted_id = wanted.c[0]
    ids = select(wanted_id)
    questions = HITLDetail.__table__
    # Counted: of a plain EXISTS that finds nothing, PostgreSQL may read the whole table.
    counts = {
        "deadlines": _count(deadline, deadline.c.dagrun_id.in_(run_pks)),
        "reschedules": _count(task_reschedule, is_one_of(task_reschedule.c.ti_id, ids)),
        "questions": _count(questions, is_one_of(questions.c.ti_id, ids)),
        "tries": _count(history, is_one_of(history.c.task_instance_id, ids)),
        "this_try": _count(
            ti,
            is_one_of(ti.c.id, ids),
            exists_of_task(
                history,
                dag_id,
                *(history.c[name] == ti.c[name] for name in ("run_id", "task_id", "map_index")),
                is_same(history.c.try_number, ti.c.try_number),
                order="try_number",
            ),
        ),
    }
    labelled = (count.label(name) for name, count in counts.items())
    settings = settings_columns(NESTED_LOOPS, session)
    row = session.execute(select(of_runs["all"], of_runs.with_version, *labelled, *settings)).one()
    found = row._mapping
    return RelatedRows(
        task_instances=found["all"],
        versionless=found["all"] - row.with_version,
        **{name: found[name] for name in counts},
    )


def _count(rows: FromClause, *conditions: Any) -> Any:
    return select(func.count()).select_from(rows).where(*conditions).scalar_subquery()
