"""Safe Clear's options and the Airflow options that it obeys."""

from __future__ import annotations

import airflow
from airflow.configuration import conf

from safe_clear_plugin.core.policy import Limits

SECTION = "safe_clear"
AIRFLOW_VERSION: str = airflow.__version__


def plan_ttl_minutes() -> int:
    """Minutes that a plan may be confirmed."""
    return int(conf.getint(SECTION, "plan_ttl_minutes"))


def batch_size() -> int:
    """Task instances in one clearing transaction, at most; a larger dag run is one transaction."""
    return max(1, int(conf.getint(SECTION, "batch_size")))


def approval_ttl_minutes() -> int:
    """Minutes that a second person may apply a plan after its author asked for that."""
    return int(conf.getint(SECTION, "approval_ttl_minutes"))


def limits() -> Limits:
    """What bounds a clear, as it is configured now."""
    return Limits(
        confirm_above=int(conf.getint(SECTION, "confirm_above")),
        max_task_instances=int(conf.getint(SECTION, "max_task_instances")),
        require_reason=bool(conf.getboolean(SECTION, "require_reason")),
        protected=tuple(str(conf.get(SECTION, "protected")).split()),
        approve_above=int(conf.getint(SECTION, "approve_above")),
    )


def history_retention_days() -> int:
    """Days that receipts and before-images are kept; 0 keeps them for ever."""
    return max(0, int(conf.getint(SECTION, "history_retention_days")))


def base_url() -> str:
    """Where users reach Airflow, without a trailing slash; a path alone when ``[api] base_url`` is unset."""
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")


def secret_key() -> str:
    """The key that Airflow's web servers share, for signing."""
    return str(conf.get_mandatory_value("api", "secret_key"))
