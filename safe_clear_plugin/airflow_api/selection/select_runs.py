"""The dag runs that a selection covers, as rows for ``INSERT … SELECT``: none passes through Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, Uuid, and_, case, cast, literal, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import cleared_columns
from safe_clear_plugin.airflow_api.clear.column import shown_and_predicted
from safe_clear_plugin.airflow_api.clear.predictions import DagRunClear
from safe_clear_plugin.airflow_api.dag.dag_versions import LatestVersion
from safe_clear_plugin.airflow_api.dag.run_versions import moves_to_latest, uses_version
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.airflow_api.platform.key_table import is_among, is_named, rows_of_versions
from safe_clear_plugin.airflow_api.selection.failed_task_instances import is_of_failed_run
from safe_clear_plugin.core.selection import Selection


@dataclass(frozen=True, slots=True)
class Scope:
    """The dag runs that a selection covers: its filters, and the dates as past and future have widened them.

    The dates are moments, also those of partitions.
    """

    selection: Selection
    date_from: datetime | None
    date_to: datetime | None
    named: tuple[str, ...]
    """Run ids that the selection is held to; empty when past or future goes beyond the named runs."""

    @property
    def is_by_date(self) -> bool:
        """Whether the runs are found by their dates, rather than by ids, partition keys or failures alone."""
        if self.named:
            return False
        is_otherwise = bool(self.selection.partition_key) or self.selection.is_by_failure
        return not is_otherwise or self.date_from is not None or self.date_to is not None


def anchor_runs(selection: Selection, session: Session) -> list[Any]:
    """Return ``(run_id, date)`` of the named runs that the DAG has, date in the selection's date field."""
    date = dag_run.c[selection.date_field]
    return list(
        session.execute(
            select(dag_run.c.run_id, date.label("date")).where(
                dag_run.c.dag_id == selection.dag_id, is_named(dag_run.c.run_id, selection.run_id)
            )
        )
    )


def run_conditions(scope: Scope) -> ColumnElement[bool]:
    """Return the condition on ``dag_run`` of a scope."""
    selection = scope.selection
    date = dag_run.c[selection.date_field]
    conditions: list[ColumnElement[bool]] = [dag_run.c.dag_id == selection.dag_id]
    if scope.named:
        conditions.append(is_named(dag_run.c.run_id, scope.named))
    elif scope.is_by_date:
        # A run without a logical date comes in by name, partition key or failure, or by run_after.
        conditions.append(date.is_not(None))
    if scope.date_from is not None:
        conditions.append(date >= scope.date_from)
    if scope.date_to is not None:
        conditions.append(date <= scope.date_to)
    if selection.exclude_run_id:
        conditions.append(~is_among(dag_run.c.run_id, selection.exclude_run_id))
    if selection.is_by_failure:
        conditions.append(
            is_of_failed_run(selection.dag_id, dag_run.c.run_id, selection.failed_from, selection.failed_to)
        )
    if selection.partition_key:
        conditions.append(is_named(dag_run.c.partition_key, selection.partition_key))
    if selection.run_type:
        conditions.append(dag_run.c.run_type.in_(selection.run_type))
    if selection.run_state:
        conditions.append(dag_run.c.state.in_(selection.run_state))
    return and_(*conditions)


def used_versions(scope: Scope, on_latest: bool, latest: UUID, session: Session) -> list[UUID]:
    """Return the DAG versions that the covered dag runs use when they re-run."""
    query = select(uses_version(on_latest, latest)).where(run_conditions(scope))
    return list(session.scalars(query.distinct()))


def runs_select(
    plan_id: UUID, scope: Scope, on_latest: bool, latest: LatestVersion, shapes: Mapping[UUID, int]
) -> Select[Any]:
    """Select the covered dag runs with what ``clear_task_instances`` will make of each.

    ``shapes`` has a number for each DAG version that may be used. Columns named as in
    ``safe_clear_plan_run``.
    """
    uses = uses_version(on_latest, latest.id)
    source, shape = _numbered(uses, shapes)
    clear = DagRunClear(scope.selection.reset_dag_runs, on_latest, latest)
    moves = case((moves_to_latest(on_latest), literal(value=True)), else_=literal(value=False))
    return (
        select(
            cast(literal(plan_id, Uuid()), Uuid()).label("plan_id"),
            dag_run.c.run_id,
            dag_run.c.id.label("dag_run_id"),
            dag_run.c.logical_date,
            dag_run.c.run_after,
            dag_run.c.run_type,
            dag_run.c.partition_key,
            dag_run.c.partition_date,
            uses.label("uses_dag_version_id"),
            shape.label("shape"),
            moves.label("moves_to_latest"),
            *shown_and_predicted(cleared_columns.DAG_RUN, dag_run, clear),
        )
        .select_from(source)
        .where(run_conditions(scope))
    )


def _numbered(
    version: ColumnElement[Any], shapes: Mapping[UUID, int]
) -> tuple[FromClause, ColumnElement[Any]]:
    """Return the dag runs with the number of the version that each uses; none for a version without one."""
    numbers = rows_of_versions((id_, number, "") for id_, number in shapes.items())
    return dag_run.outerjoin(numbers, numbers.c.id == version), numbers.c.number


def missing_runs(dag_id: str, run_ids: Iterable[str], session: Session) -> list[str]:
    """Return those of the run ids that the DAG does not have, in their order."""
    wanted = list(run_ids)
    query = select(dag_run.c.run_id).where(dag_run.c.dag_id == dag_id, is_named(dag_run.c.run_id, wanted))
    there = set(session.scalars(query))
    return [run_id for run_id in wanted if run_id not in there]


def missing_partition_keys(dag_id: str, keys: Iterable[str], session: Session) -> list[str]:
    """Return those of the partition keys that no dag run of the DAG has, in their order."""
    wanted = list(keys)
    query = select(dag_run.c.partition_key).where(
        dag_run.c.dag_id == dag_id, is_named(dag_run.c.partition_key, wanted)
    )
    there = set(session.scalars(query.distinct()))
    return [key for key in wanted if key not in there]
