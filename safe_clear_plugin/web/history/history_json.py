"""The history, for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from safe_clear_plugin.core.history import HistoryEntry, LoggedClear
from safe_clear_plugin.services.history import FoundHistory
from safe_clear_plugin.web.api import serializers
from safe_clear_plugin.web.app.moments import iso


def history_json(found: FoundHistory, now: datetime) -> dict[str, Any]:
    """Return a page of the history."""
    return {
        "total": found.total,
        "complete": found.complete,
        "audit_log": found.audited,
        "items": [_entry_json(entry, now) for entry in found.entries],
    }


def _entry_json(entry: HistoryEntry, now: datetime) -> dict[str, Any]:
    return {
        "at": iso(entry.at),
        "plan": serializers.summary_json(entry.plan, now) if entry.plan else None,
        "airflow": _logged_json(entry.logged) if entry.logged else None,
    }


def _logged_json(clear: LoggedClear) -> dict[str, Any]:
    return {
        "event": clear.event,
        "dag_ids": clear.dag_ids,
        "dag_runs": [{"dag_id": dag_id, "run_id": run_id} for dag_id, run_id in clear.run_ids],
        "task_ids": list(clear.task_ids),
        "by": clear.by_name,
        "options": dict(clear.options),
    }
