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
                        "description": "How many minutes a plan can be confirmed after it is created.",
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "30",
                    },
                    "batch_size": {
                        "description": (
                            "Maximum number of task instances in one clearing transaction. Safe Clear uses "
                            "fewer if a transaction takes more than about half a second. It never splits a "
                            "dag run, so a larger dag run is one transaction."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "650",
                    },
                    "confirm_above": {
                        "description": (
                            "Above this number of task instances, the user must type the Dag id to confirm. "
                            "0 turns this off."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "200",
                    },
                    "max_task_instances": {
                        "description": (
                            "Maximum number of task instances in one clear. A larger clear is refused. "
                            "0 sets no limit."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "0",
                    },
                    "require_reason": {
                        "description": "Whether a clear needs a reason.",
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "False",
                    },
                    "protected": {
                        "description": (
                            "Tasks that Safe Clear must not clear: patterns dag_id:task_regex, separated by "
                            "whitespace. Both parts are RE2 regular expressions, separated by the first "
                            "colon. The first must match the whole Dag id, the second any part of the task "
                            "id. If a pattern is not valid, every clear is refused."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "finance_.*:^publish sales_etl:",
                        "default": "",
                    },
                    "approve_above": {
                        "description": (
                            "Above this number of task instances, a second person must approve and apply the "
                            "clear. 0 turns this off."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "0",
                    },
                    "approval_ttl_minutes": {
                        "description": (
                            "How many minutes a second person can approve a plan after its author asks."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "480",
                    },
                    "create_tables": {
                        "description": (
                            "Whether the api-server creates and upgrades Safe Clear's tables when it first "
                            "needs them. For managed services, such as Amazon MWAA, that run `airflow db "
                            "migrate` before they install packages."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "False",
                    },
                    "speedups": {
                        "description": (
                            "Whether a clear combines the statements of Airflow's function. If turned off, "
                            "the same rows are written, about ten times slower."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "True",
                    },
                    "preview_timeout": {
                        "description": (
                            "How many seconds a preview of a clear or an undo can take before it is "
                            "cancelled. 0 sets no limit."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": None,
                        "default": "60",
                    },
                    "findings_timeout": {
                        "description": (
                            "How many seconds of a preview all its checks can take together. The plan's page "
                            "names the checks that did not finish. 0 sets no limit."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": None,
                        "default": "10",
                    },
                    "history_retention_days": {
                        "description": (
                            "How many days the receipt of a clear and its undo data are kept. "
                            "0 keeps them forever."
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
