"""What Safe Clear tells Airflow's providers manager about itself."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider metadata that Airflow validates against its ``provider_info`` schema.

    Airflow calls this at every start of every component, so it imports nothing.
    """
    return {
        "package-name": "airflow-safe-clear",
        "name": "Safe Clear",
        "description": "See exactly what clearing task instances will do, then do exactly that.",
        "db-managers": ["safe_clear_plugin.storage.db_manager.SafeClearDBManager"],
        "config": {
            "safe_clear": {
                "description": "Options of the Safe Clear plugin.",
                "options": {
                    "plan_ttl_minutes": {
                        "description": "Minutes that a plan may be confirmed after it was made.",
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "30",
                    },
                    "batch_size": {
                        "description": (
                            "Task instances that one clearing transaction holds at most. A dag run is never "
                            "split, so a dag run larger than this is one transaction."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "200",
                    },
                    "history_retention_days": {
                        "description": (
                            "Days that the receipt of a clear, and what is needed to undo it, are kept. "
                            "0 keeps them for ever."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "90",
                    },
                },
            }
        },
    }
