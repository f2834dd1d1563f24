"""Safe Clear's description for Airflow's providers manager."""

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
        "cli": ["safe_clear_plugin.cli_definition.get_commands"],
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
                    "canary_above": {
                        "description": (
                            "Above this number of task instances, a clear clears one dag run and then waits "
                            "for a person, unless the user chooses otherwise. 0 turns this off."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "0",
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
                    "driver": {
                        "description": (
                            "Where confirmed clears and undos are carried out: `api-server` runs a thread in "
                            "each api-server process. With `none`, run `airflow safe-clear driver` as a "
                            "process of its own."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": None,
                        "default": "api-server",
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
                            "How many seconds a preview of a clear or an undo, or the search for what "
                            "failed, can take before it is cancelled. 0 sets no limit."
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
                    "webhook_url": {
                        "description": (
                            "Address to which Safe Clear posts what happens to plans, such as a request for "
                            "approval or a stopped clear. Empty: nothing is sent. The driver sends it, and "
                            "uses the proxies of its environment."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "sensitive": True,
                        "example": "https://pager.example.com/hooks/airflow",
                        "default": "",
                    },
                    "webhook_secret": {
                        "description": (
                            "Key that signs the messages to `webhook_url`, so that the receiver can verify "
                            "them. If it begins with whsec_, the rest is Base64. Empty: they are not signed."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "sensitive": True,
                        "example": None,
                        "default": "",
                    },
                    "webhook_format": {
                        "description": (
                            "How messages are written: json, or slack for an incoming webhook of Slack."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "slack",
                        "default": "json",
                    },
                },
            }
        },
    }
