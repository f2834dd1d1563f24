"""The effect of a clear on each column of a task instance and of a dag run.

The only place that says so: the preview predicts, drift and verification compare, and an undo restores what
these two tables name. All columns are listed, except the keys by which rows are found. A column that a new
Airflow adds is one more entry here, and one in ``platform/expected_tables.py``;
``tests/db/test_cleared_columns.py`` asks for it.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, FromClause, case, func, null

from safe_clear_plugin.airflow_api.clear import predictions
from safe_clear_plugin.airflow_api.clear.column import ClearedColumn, Undo, Value
from safe_clear_plugin.airflow_api.clear.predictions import DagRunClear, TaskInstanceClear
from safe_clear_plugin.core.drift import DriftCode
from safe_clear_plugin.core.effects import CLEARED_EFFECTS


def _try_number(planned: FromClause, _resets: bool) -> Value:
    """A clear leaves it; a task instance that the clear makes Airflow create has made no try."""
    return func.coalesce(planned.c.try_number, 0)


def _cleared_id(planned: FromClause, _resets: bool) -> Value:
    """The id from before the clear, where the clear gives a new one."""
    return case((planned.c.effect.in_(CLEARED_EFFECTS), planned.c.task_instance_id))


def _raised_by_reset(planned: FromClause, resets: bool) -> Value:
    return planned.c.clear_number + (1 if resets else 0)


def _as_before(before: Value, _cleared: ColumnElement[bool]) -> Value:
    return before


def _unset(_before: Value, _cleared: ColumnElement[bool]) -> Value:
    return null()


def _unset_if_cleared(before: Value, cleared: ColumnElement[bool]) -> Value:
    return case((cleared, None), else_=before)


TASK_INSTANCE_KEY = ("dag_id", "run_id", "task_id", "map_index")

TASK_INSTANCE: tuple[ClearedColumn[TaskInstanceClear], ...] = (
    # Of several that differ from the preview, the first one names the drift.
    ClearedColumn(
        "id",
        shown_as="task_instance_id",
        drift=DriftCode.CLEARED_OR_RETRIED,
        verify=True,
        after=_cleared_id,
        is_new=True,
        verify_undo=True,
    ),
    ClearedColumn(
        "state",
        shown_as="state",
        predicted_as="after_state",
        predict=predictions.task_instance_state,
        drift=DriftCode.STATE,
        verify=True,
        verify_undo=True,
    ),
    ClearedColumn(
        "try_number",
        shown_as="try_number",
        drift=DriftCode.STATE,
        verify=True,
        after=_try_number,
        verify_undo=True,
    ),
    ClearedColumn(
        "max_tries",
        predicted_as="after_max_tries",
        predict=predictions.task_instance_max_tries,
        verify=True,
        verify_undo=True,
    ),
    ClearedColumn(
        "dag_version_id",
        shown_as="dag_version_id",
        predicted_as="after_dag_version_id",
        predict=predictions.task_instance_version,
        drift=DriftCode.DAG_VERSION,
        verify=True,
        undo=Undo.RESTORE_WITH_RUN,
    ),
    ClearedColumn("start_date", until_started=_as_before, verify_undo=True),
    ClearedColumn("end_date", verify_undo=True),
    ClearedColumn("queued_dttm", until_started=_as_before, verify_undo=True),
    ClearedColumn("next_method", until_started=_unset, verify_undo=True),
    ClearedColumn("external_executor_id", until_started=_unset_if_cleared),
    # The trigger may be gone by now, and no clear changes the reference to it.
    ClearedColumn("trigger_id", undo=Undo.KEEP),
    ClearedColumn("updated_at", undo=Undo.KEEP),
    # Neither predicted nor compared: refreshed from the task, or written when it runs again.
    *map(
        ClearedColumn,
        (
            "duration",
            "hostname",
            "unixname",
            "pool",
            "pool_slots",
            "queue",
            "priority_weight",
            "operator",
            "custom_operator_name",
            "scheduled_dttm",
            "queued_by_job_id",
            "last_heartbeat_at",
            "pid",
            "executor",
            "executor_config",
            "rendered_map_index",
            "context_carrier",
            "span_status",
            "trigger_timeout",
            "next_kwargs",
            "task_display_name",
            # Since Airflow 3.3.
            "retry_delay_override",
            "retry_reason",
        ),
    ),
)

DAG_RUN_KEY = ("id", "dag_id", "run_id")

DAG_RUN: tuple[ClearedColumn[DagRunClear], ...] = (
    # Of several that differ from the preview, the first one names the drift.
    ClearedColumn(
        "clear_number",
        shown_as="clear_number",
        drift=DriftCode.CLEARED,
        verify=True,
        after=_raised_by_reset,
        verify_undo=True,
    ),
    ClearedColumn(
        "state",
        shown_as="state",
        predicted_as="after_state",
        predict=predictions.dag_run_state,
        drift=DriftCode.STATE,
        verify=True,
        undo=Undo.RESTORE_FINISHED,
        verify_undo=True,
    ),
    ClearedColumn(
        "created_dag_version_id",
        shown_as="dag_version_id",
        predicted_as="after_dag_version_id",
        predict=predictions.dag_run_version,
        drift=DriftCode.DAG_VERSION,
        verify=True,
        verify_undo=True,
    ),
    ClearedColumn(
        "bundle_version",
        shown_as="bundle_version",
        predicted_as="after_bundle_version",
        predict=predictions.dag_run_bundle_version,
        drift=DriftCode.BUNDLE_VERSION,
        verify=True,
        verify_undo=True,
    ),
    ClearedColumn("queued_at", verify_undo=True),
    ClearedColumn("context_carrier"),
    ClearedColumn("end_date", undo=Undo.RESTORE_FINISHED, verify_undo=True),
    # Neither a clear nor the scheduler changes these references, and what they refer to may be gone by now.
    ClearedColumn("backfill_id", undo=Undo.KEEP),
    ClearedColumn("log_template_id", undo=Undo.KEEP),
    ClearedColumn("updated_at", undo=Undo.KEEP),
    *(
        ClearedColumn(name, undo=Undo.RESTORE_FINISHED)
        for name in (
            "logical_date",
            "start_date",
            "creating_job_id",
            "run_type",
            "triggered_by",
            "triggering_user_name",
            "conf",
            "data_interval_start",
            "data_interval_end",
            "run_after",
            "last_scheduling_decision",
            "created_at",
            "scheduled_by_job_id",
            "span_status",
            "partition_key",
            "partition_date",
        )
    ),
)
