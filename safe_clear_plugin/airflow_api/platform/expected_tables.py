"""The tables of the supported Airflows, frozen: what Safe Clear reads and writes must look like this."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

_TRY = (
    "task_id",
    "dag_id",
    "run_id",
    "map_index",
    "start_date",
    "end_date",
    "duration",
    "state",
    "try_number",
    "max_tries",
    "hostname",
    "unixname",
    "pool",
    "pool_slots",
    "queue",
    "priority_weight",
    "operator",
    "custom_operator_name",
    "queued_dttm",
    "scheduled_dttm",
    "queued_by_job_id",
    "pid",
    "executor",
    "executor_config",
    "updated_at",
    "rendered_map_index",
    "context_carrier",
    "span_status",
    "external_executor_id",
    "trigger_id",
    "trigger_timeout",
    "next_method",
    "next_kwargs",
    "task_display_name",
    "dag_version_id",
)
"""Columns that a task instance and its history share."""

_DAG_RUN = (
    "id",
    "dag_id",
    "queued_at",
    "logical_date",
    "start_date",
    "end_date",
    "state",
    "run_id",
    "creating_job_id",
    "run_type",
    "triggered_by",
    "triggering_user_name",
    "conf",
    "data_interval_start",
    "data_interval_end",
    "run_after",
    "last_scheduling_decision",
    "log_template_id",
    "created_at",
    "updated_at",
    "clear_number",
    "backfill_id",
    "bundle_version",
    "scheduled_by_job_id",
    "context_carrier",
    "span_status",
    "created_dag_version_id",
    "partition_key",
    "partition_date",
)

_WRITTEN: Mapping[str, tuple[str, ...]] = {
    "task_instance": ("id", *_TRY, "last_heartbeat_at"),
    "task_instance_history": ("task_instance_id", *_TRY),
    "dag_run": _DAG_RUN,
    "task_reschedule": ("id", "ti_id", "start_date", "end_date", "duration", "reschedule_date"),
    "deadline": (
        "id",
        "created_at",
        "last_updated_at",
        "dagrun_id",
        "deadline_time",
        "missed",
        "callback_id",
        "deadline_alert_id",
    ),
}

_ADDED_IN_3_3: Mapping[str, tuple[str, ...]] = {
    "task_instance": ("retry_delay_override", "retry_reason"),
    "task_instance_history": ("retry_delay_override", "retry_reason"),
}

WRITTEN_TABLES: Mapping[tuple[int, int], Mapping[str, frozenset[str]]] = {
    (3, 2): {name: frozenset(columns) for name, columns in _WRITTEN.items()},
    (3, 3): {name: frozenset((*columns, *_ADDED_IN_3_3.get(name, ()))) for name, columns in _WRITTEN.items()},
}
"""By minor version, all the columns of the tables that a clear and an undo write: one more or less counts."""

READ_TABLES: Mapping[str, frozenset[str]] = {
    "backfill": frozenset({"id", "is_paused", "max_active_runs"}),
    "backfill_dag_run": frozenset({"id", "backfill_id", "dag_run_id", "sort_ordinal"}),
    "dag": frozenset({"dag_id", "is_paused", "is_stale", "bundle_version", "asset_expression"}),
    "dag_version": frozenset({"id", "dag_id", "version_number"}),
    "deadline_alert": frozenset({"id", "reference"}),
    "hitl_detail": frozenset({"ti_id", "responded_at"}),
    "log": frozenset(
        {
            "dttm",
            "event",
            "dag_id",
            "run_id",
            "task_id",
            "map_index",
            "try_number",
            "logical_date",
            "owner",
            "owner_display_name",
            "extra",
        }
    ),
    "serialized_dag": frozenset({"id", "dag_id", "dag_hash", "dag_version_id"}),
    "slot_pool": frozenset({"id", "pool", "slots", "include_deferred"}),
    "xcom": frozenset({"dag_run_id", "task_id", "map_index", "key", "value"}),
}
"""The columns that Safe Clear uses of tables that it reads, or only adds rows to; others may be there."""


def table_names() -> list[str]:
    """Return the names of all tables that are described here."""
    return [*_WRITTEN, *READ_TABLES]


def common_columns(name: str) -> frozenset[str]:
    """Return the columns that a table has in each supported version."""
    by_version = [tables[name] for tables in WRITTEN_TABLES.values() if name in tables]
    return frozenset.intersection(*by_version) if by_version else READ_TABLES[name]


def differences(found: Mapping[str, Collection[str]], version: tuple[int, int]) -> list[str]:
    """Return how tables, given by their columns, differ from those of a minor version.

    A version that is not described is compared with the one that it is most like.
    """
    versions = [version] if version in WRITTEN_TABLES else sorted(WRITTEN_TABLES, reverse=True)
    return min((list(_differences(found, WRITTEN_TABLES[one])) for one in versions), key=len)


def _differences(
    found: Mapping[str, Collection[str]], written: Mapping[str, frozenset[str]]
) -> Iterator[str]:
    for name, expected in {**written, **READ_TABLES}.items():
        if name not in found:
            yield f"there is no table {name}"
            continue
        columns = set(found[name])
        yield from (f"{name} has no column {column}" for column in sorted(expected - columns))
        if name in written:
            yield from (f"{name} has an unknown column {column}" for column in sorted(columns - expected))
