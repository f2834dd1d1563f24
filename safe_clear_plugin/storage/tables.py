"""The tables of Safe Clear. A plan's preview is written once; clear and undo add their progress.

All are in this module, in spite of its length, since a reader of one table compares it with the others, and
since ``metadata`` must know each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Enum,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    Uuid,
    false,
)

from safe_clear_plugin.airflow_api.platform.airflow_tables import (
    StringID,
    UtcDateTime,
    dag_run,
    deadline,
    new_metadata,
    task_instance,
    task_reschedule,
)

metadata = new_metadata()


def _plan_id() -> Column[object]:
    return Column(
        "plan_id",
        Uuid(),
        ForeignKey("safe_clear_plan.id", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    )


def _plan_id_of_many() -> Column[object]:
    """Return the column for tables with a row per task instance, which a foreign key makes twice as slow.

    They are filled and emptied only under the lock of the plan's row.
    """
    return Column("plan_id", Uuid(), primary_key=True, nullable=False)


# Several plans that are confirmed, driven and undone together. The status of a set comes from its plans.
change_set = Table(
    "safe_clear_change_set",
    metadata,
    Column("id", Uuid(), primary_key=True),
    # The choice of its DAGs and the selection in each, as in the request.
    Column("made_from", JSON(), nullable=False),
    # The DAGs in which nothing matched: [{dag_id, reason, remedy}].
    Column("left_out", JSON(), nullable=False),
    # A digest of the fingerprints of its plans, in their order.
    Column("fingerprint", String(64), nullable=False),
    Column("created_by", String(512), nullable=False),
    Column("created_by_name", String(512), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("reason", Text(), nullable=False, server_default=""),
    Column("applied_by", String(512)),
    Column("applied_by_name", String(512)),
    Column("applied_at", UtcDateTime),
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
    # The codes of the checks that did not finish in time.
    Column("findings_not_checked", JSON()),
    # Number of task instances by outcome: {outcome: count}.
    Column("outcomes", JSON()),
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
    # When somebody last asked for a clear or an undo, or a transaction of it committed.
    Column("last_step_at", UtcDateTime),
    Column("batches", Integer(), nullable=False, server_default="0"),
    Column("cleared", Integer(), nullable=False, server_default="0"),
    Column("cleared_runs", Integer(), nullable=False, server_default="0"),
    Column("put_back", Integer(), nullable=False, server_default="0"),
    # Task instances whose run was undone, but which had started or could not be put back.
    Column("stayed", Integer(), nullable=False, server_default="0"),
    Column("undo_asked_runs", Integer(), nullable=False, server_default="0"),
    Column("undone_runs", Integer(), nullable=False, server_default="0"),
    # The Airflow that cleared: before-images have its columns.
    Column("airflow_version", String(50)),
    # The likely cost, as :meth:`Estimate.to_json` wrote it.
    Column("estimate", JSON()),
    # The codes of the acknowledged findings.
    Column("acknowledged", JSON()),
    # Above a limit a second person applies: when its author asked for one, and who approved or declined.
    Column("approval_asked_at", UtcDateTime),
    Column("approved_by", String(512)),
    Column("approved_by_name", String(512)),
    Column("declined_by", String(512)),
    Column("declined_by_name", String(512)),
    Column("declined_at", UtcDateTime),
    Column("decline_reason", Text(), nullable=False, server_default=""),
    # The DAG's team, where Airflow runs for several: a DAG that is gone has none.
    Column("team_name", String(50)),
    # From when on a driver has something to do, if it has; which driver does it, and until when no other may
    # begin. By the database's clock.
    Column("next_step_at", UtcDateTime),
    Column("lease_owner", String(500)),
    Column("leased_until", UtcDateTime),
    # In whose name the driver clears or undoes, and why they asked for that.
    Column("requested_by", String(512)),
    Column("requested_by_name", String(512)),
    Column("request_reason", Text()),
    # The waves, as :meth:`Waves.to_json` wrote them; null clears all at once.
    Column("waves", JSON()),
    # The state of the waves when they were last looked at, and why a person has to decide.
    Column("wave_state", String(20)),
    Column("wave_reason", String(30)),
    # Whether a person went on after the first runs.
    Column("first_runs_passed", Boolean()),
    # The change set that it belongs to, and its place there, from 0: the order in which plans are cleared.
    Column("change_set_id", Uuid()),
    Column("position", Integer()),
    Index("idx_safe_clear_plan_next_step_at", "next_step_at"),
    Index("idx_safe_clear_plan_change_set_id", "change_set_id", "position"),
    Index("idx_safe_clear_plan_dag_id_created_at", "dag_id", "created_at"),
    Index("idx_safe_clear_plan_status_expires_at", "status", "expires_at"),
    Index("idx_safe_clear_plan_created_at", "created_at"),
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
    Column("partition_key", StringID()),
    Column("partition_date", UtcDateTime),
    Column("state", String(50)),
    Column("clear_number", Integer(), nullable=False),
    Column("dag_version_id", Uuid()),
    Column("bundle_version", StringID()),
    # The DAG version whose tasks decide the selection: the one that the run uses when it re-runs.
    Column("uses_dag_version_id", Uuid(), nullable=False),
    # The number, within the plan, of DAG versions that share the same included tasks and relations.
    Column("shape", Integer()),
    # Whether the run moves to the latest DAG version: asked for, or it has none of its own.
    Column("moves_to_latest", Boolean(), nullable=False),
    # Whether the scheduler compares the run's tasks with the latest DAG version when it next looks at it.
    Column("is_verified", Boolean()),
    Column("after_state", String(50)),
    Column("after_dag_version_id", Uuid()),
    Column("after_bundle_version", StringID()),
    Column("task_instances", Integer(), nullable=False, server_default="0"),
    Column("applied_at", UtcDateTime),
    Column("batch", Integer()),
    Column("undo_asked_at", UtcDateTime),
    Column("undone_at", UtcDateTime),
    Column("undo_batch", Integer()),
    # Whether the undo gave the run its own state back, or left it to go on.
    Column("put_back", Boolean()),
    # The foreseen outcome of the run, and the code of the reason.
    Column("outcome", String(20)),
    Column("outcome_reason", String(40)),
    # Its progress since it was cleared, if waves checked it, and whether a person went on without it.
    Column("rerun", String(20)),
    Column("failure_skipped", Boolean()),
)

plan_task = Table(
    "safe_clear_plan_task",
    metadata,
    _plan_id(),
    Column("shape", Integer(), primary_key=True, nullable=False, autoincrement=False),
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
    _plan_id_of_many(),
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
    # The id that the clear gave the task instance: only while it carries it can it be put back.
    Column("new_task_instance_id", Uuid()),
    # Whether the history held the old id before the clear, so that an undo leaves that row there.
    Column("had_history", Boolean(), nullable=False, server_default=false()),
    # The effect of the undo on the row, and the state that it found.
    Column("undo", String(20)),
    Column("undo_state", String(20)),
    # The state that the scheduler will give it without running it, because of what lies upstream.
    Column("foreseen_state", String(20)),
    # Its final outcome, as far as it is known, and the code of the reason.
    Column("outcome", String(20)),
    Column("outcome_reason", String(40)),
)

# With no other index than its key, so that PostgreSQL looks up in it as it should, even where it has no
# statistics: a role that does not own the table cannot gather them.
plan_relation = Table(
    "safe_clear_plan_relation",
    metadata,
    _plan_id(),
    Column("shape", Integer(), primary_key=True, nullable=False, autoincrement=False),
    # A task, and a task that decides its outcome: ``kind`` says how, seen from the first.
    Column("task_id", StringID(), primary_key=True, nullable=False),
    Column("kind", String(20), primary_key=True, nullable=False),
    Column("related_task_id", StringID(), primary_key=True, nullable=False),
    # Whether only task instances with the same map index have to do with each other.
    Column("same_map_index", Boolean(), nullable=False, server_default=false()),
)

plan_batch = Table(
    "safe_clear_plan_batch",
    metadata,
    _plan_id(),
    Column("number", Integer(), primary_key=True, nullable=False, autoincrement=False),
    # clear or undo
    Column("kind", String(10), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor_id", String(512), nullable=False),
    Column("actor_name", String(512), nullable=False),
    Column("reason", Text(), nullable=False, server_default=""),
    Column("dag_runs", Integer(), nullable=False),
    Column("task_instances", Integer(), nullable=False),
    Column("stayed", Integer(), nullable=False, server_default="0"),
    # The dates that its first and its last dag run go by.
    Column("first_run", UtcDateTime, nullable=False),
    Column("last_run", UtcDateTime, nullable=False),
)

# The outbox of the webhook. A message is written in the transaction that does what it tells of.
message = Table(
    "safe_clear_message",
    metadata,
    _plan_id(),
    # Of the plan's messages, in the order in which they are sent.
    Column("number", Integer(), primary_key=True, nullable=False, autoincrement=False),
    Column("id", Uuid(), nullable=False),
    Column("event", String(30), nullable=False),
    # JSON, as :class:`Message` has it; each attempt sends the same.
    Column("body", Text(), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # pending, delivered or failed
    Column("delivery", String(20), nullable=False),
    # When a pending one is sent next. One that is being sent has a lease, which lasts until then. When it is
    # given up. All three moments are the database's.
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("attempts", Integer(), nullable=False, server_default="0"),
    Column("lease", Uuid()),
    Column("delivered_at", UtcDateTime),
    # Why the last attempt failed, and what the receiver answered.
    Column("problem", String(20)),
    Column("http_status", Integer()),
    Index("idx_safe_clear_message_delivery_next_attempt_at", "delivery", "next_attempt_at"),
)

# One row: until when the scheduler's lock is left to the schedulers, since a clear or an undo has held it.
scheduler_pause = Table(
    "safe_clear_scheduler_pause",
    metadata,
    Column("id", Integer(), primary_key=True, nullable=False, autoincrement=False),
    Column("ends_at", UtcDateTime, nullable=False),
)


def mirror_columns(live: Table, key: Sequence[str]) -> list[Column[Any]]:
    """Return columns that hold a row of one of Airflow's tables as it is, keyed within a plan by ``key``."""
    columns = [*(live.c[name] for name in key), *(column for column in live.c if column.name not in key)]
    return [
        Column(
            column.name,
            String(column.type.length) if isinstance(column.type, Enum) else column.type,
            primary_key=column.name in key,
            nullable=column.name not in key,
            autoincrement=False,
        )
        for column in columns
    ]


def _mirror(live: Table, *key: str) -> Table:
    name = f"safe_clear_before_{live.name}"
    return Table(
        name, metadata, _plan_id_of_many(), *mirror_columns(live, key), info={"mirrors": live, "key": key}
    )


# Rows of Airflow's as they were before the clear, filled and read by INSERT … SELECT and UPDATE … FROM.
before_task_instance = _mirror(task_instance, "run_id", "task_id", "map_index")
before_dag_run = _mirror(dag_run, "id")
before_task_reschedule = _mirror(task_reschedule, "ti_id", "id")
before_deadline = _mirror(deadline, "id")

MIRRORS = (before_task_instance, before_dag_run, before_task_reschedule, before_deadline)
