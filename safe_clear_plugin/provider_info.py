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
                            "Task instances that one clearing transaction holds at most; fewer where the "
                            "database needs more than about half a second for them. A dag run is never "
                            "split, so a dag run larger than this is one transaction."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "650",
                    },
                    "confirm_above": {
                        "description": (
                            "Above so many task instances, whoever confirms a clear types the DAG id. "
                            "0 never asks for it."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "200",
                    },
                    "max_task_instances": {
                        "description": (
                            "Task instances that a clear may take at most; a larger one is refused. "
                            "0 sets no limit."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "0",
                    },
                    "require_reason": {
                        "description": "Whether a clear is confirmed only with a reason.",
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "False",
                    },
                    "protected": {
                        "description": (
                            "Task instances that no clear may touch: patterns dag_id:task_regex with "
                            "whitespace between them. The first colon parts the two, both are RE2 regular "
                            "expressions; the first must match the whole DAG id, the second any part of the "
                            "task id. A pattern that cannot be read protects everything."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "finance_.*:^publish sales_etl:",
                        "default": "",
                    },
                    "approve_above": {
                        "description": (
                            "Above so many task instances, a second person applies the clear and its author "
                            "cannot. 0 never asks for one."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "0",
                    },
                    "approval_ttl_minutes": {
                        "description": (
                            "Minutes that a second person may apply a plan after its author asked for it."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "480",
                    },
                    "create_tables": {
                        "description": (
                            "Whether the api-server makes and upgrades Safe Clear's tables when they are "
                            "first needed. For managed services, such as Amazon MWAA, that run `airflow db "
                            "migrate` before they install packages."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "False",
                    },
                    "speedups": {
                        "description": (
                            "Whether a clear combines the statements of Airflow's function. Turned off, it "
                            "writes the same rows, about ten times slower."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "True",
                    },
                    "preview_timeout": {
                        "description": (
                            "Seconds that a preview, also of an undo, may take; a longer one is ended. "
                            "0 sets no limit."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": None,
                        "default": "60",
                    },
                    "findings_timeout": {
                        "description": (
                            "Seconds of a preview that its findings may take together. The checks that do "
                            "not finish by then are named on the plan's page. 0 sets no limit."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": None,
                        "default": "10",
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
