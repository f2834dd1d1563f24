"""The tables of Safe Clear. What a plan says is written once; a clear adds only how far it has come."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, Uuid

from safe_clear_plugin.airflow_api.base import StringID, UtcDateTime, new_metadata

metadata = new_metadata()


def _plan_id() -> Column[object]:
    return Column(
        "plan_id",
        Uuid(),
        ForeignKey("safe_clear_plan.id", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    )


plan = Table(
    "safe_clear_plan",
    metadata,
    Column("id", Uuid(), primary_key=True),
    Column("dag_id", StringID(), nullable=False),
    Column("status", String(20), nullable=False),
    Column("selection", JSON(), nullable=False),
    Column("run_on_latest_version", Boolean(), nullable=False),
    # The DAG versions that the plan's runs will use, with the hash of each: [{id, number, hash}].
    Column("dag_versions", JSON(), nullable=False),
    Column("findings", JSON(), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("task_instances", Integer(), nullable=False),
    Column("dag_runs", Integer(), nullable=False),
    Column("created_by", String(512), nullable=False),
    Column("created_by_name", String(512), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("reason", Text(), nullable=False, server_default=""),
    Column("applied_by", String(512)),
    Column("applied_by_name", String(512)),
    Column("applied_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    # Why the plan went stale or stopped: what moved, or what came out otherwise than planned.
    Column("problem", JSON()),
    Index("idx_safe_clear_plan_dag_id_created_at", "dag_id", "created_at"),
    Index("idx_safe_clear_plan_status_expires_at", "status", "expires_at"),
)

plan_run = Table(
    "safe_clear_plan_run",
    metadata,
    _plan_id(),
    Column("run_id", StringID(), primary_key=True, nullable=False),
    Column("dag_run_id", Integer(), nullable=False),
    Column("logical_date", UtcDateTime),
    Column("run_after", UtcDateTime, nullable=False),
    Column("run_type", String(50), nullable=False),
    Column("state", String(50)),
    Column("clear_number", Integer(), nullable=False),
    Column("dag_version_id", Uuid()),
    Column("bundle_version", StringID()),
    # The DAG version whose tasks decide what is selected: the one that the run uses when it re-runs.
    Column("uses_dag_version_id", Uuid(), nullable=False),
    # Whether the run moves to the latest DAG version: asked for, or it has none of its own.
    Column("moves_to_latest", Boolean(), nullable=False),
    Column("after_state", String(50)),
    Column("after_dag_version_id", Uuid()),
    Column("after_bundle_version", StringID()),
    Column("task_instances", Integer(), nullable=False, server_default="0"),
    Column("applied_at", UtcDateTime),
)

plan_task = Table(
    "safe_clear_plan_task",
    metadata,
    _plan_id(),
    Column("dag_version_id", Uuid(), primary_key=True, nullable=False),
    Column("task_id", StringID(), primary_key=True, nullable=False),
    # One map index, or ALL_MAP_INDEXES.
    Column("map_index", Integer(), primary_key=True, nullable=False, autoincrement=False),
    Column("retries", Integer(), nullable=False),
    Column("why", Text(), nullable=False),
)

ALL_MAP_INDEXES = -2
"""Stands in ``safe_clear_plan_task.map_index`` for every map index; -1 is Airflow's "not mapped"."""

plan_task_instance = Table(
    "safe_clear_plan_task_instance",
    metadata,
    _plan_id(),
    Column("run_id", StringID(), primary_key=True, nullable=False),
    Column("task_id", StringID(), primary_key=True, nullable=False),
    Column("map_index", Integer(), primary_key=True, nullable=False, autoincrement=False),
    Column("task_instance_id", Uuid()),
    Column("state", String(20)),
    Column("try_number", Integer()),
    Column("dag_version_id", Uuid()),
    Column("effect", String(20), nullable=False),
    Column("after_state", String(20)),
    Column("after_max_tries", Integer()),
    Column("after_dag_version_id", Uuid()),
    Column("why", Text(), nullable=False),
)
