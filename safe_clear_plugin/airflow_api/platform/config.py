"""Safe Clear's options and the Airflow options that it obeys."""

from __future__ import annotations

import math

import airflow
from airflow.configuration import conf
from airflow.exceptions import AirflowConfigException

from safe_clear_plugin.core.limits import Limits
from safe_clear_plugin.core.problems import Problem, Refused

SECTION = "safe_clear"
AIRFLOW_VERSION: str = airflow.__version__


def _whole_number(name: str, least: int = 0) -> int:
    """Return an option; one that cannot be read closes the door rather than lifting a limit.

    :raises Refused: 503, naming the option
    """
    try:
        return max(least, int(conf.getint(SECTION, name)))
    except AirflowConfigException:
        raise _unreadable(name, "a whole number") from None


def _seconds(name: str) -> float:
    """Return an option that is a time; what cannot be read is refused as well.

    :raises Refused: 503, naming the option
    """
    try:
        seconds = float(conf.getfloat(SECTION, name))
    except AirflowConfigException:
        raise _unreadable(name, "a number of seconds") from None
    if not 0 <= seconds < math.inf:
        raise _unreadable(name, "a number of seconds")
    return seconds


def _yes_or_no(name: str) -> bool:
    try:
        return bool(conf.getboolean(SECTION, name))
    except AirflowConfigException:
        raise _unreadable(name, "True or False") from None


def _unreadable(name: str, kind: str) -> Refused:
    return Refused(
        503,
        Problem(
            f"The option `{name}` of the section `[{SECTION}]` is not {kind}.",
            "Ask your Airflow administrator to correct it in airflow.cfg or in the api-server's environment.",
        ),
    )


def plan_ttl_minutes() -> int:
    """Minutes that a plan may be confirmed."""
    return _whole_number("plan_ttl_minutes")


def batch_size() -> int:
    """Task instances in one clearing transaction, at most; a larger dag run is one transaction."""
    return _whole_number("batch_size", least=1)


def approval_ttl_minutes() -> int:
    """Minutes that a second person may apply a plan after its author asked for that."""
    return _whole_number("approval_ttl_minutes")


def limits() -> Limits:
    """What bounds a clear, as it is configured now."""
    return Limits(
        confirm_above=_whole_number("confirm_above"),
        max_task_instances=_whole_number("max_task_instances"),
        require_reason=_yes_or_no("require_reason"),
        protected=tuple(str(conf.get(SECTION, "protected")).split()),
        approve_above=_whole_number("approve_above"),
    )


def preview_timeout() -> float:
    """Seconds that a preview may take; 0 sets no limit."""
    return _seconds("preview_timeout")


def findings_timeout() -> float:
    """Seconds that the findings of a preview may take, which is still a plan without them; 0: no limit."""
    return _seconds("findings_timeout")


def history_retention_days() -> int:
    """Days that receipts and before-images are kept; 0 keeps them for ever."""
    return _whole_number("history_retention_days")


def create_tables() -> bool:
    """Whether the api-server makes Safe Clear's tables where no migration has."""
    return _yes_or_no("create_tables")


def speedups() -> bool:
    """Whether a clear answers and combines statements of Airflow's function, for speed."""
    return _yes_or_no("speedups")


def base_url() -> str:
    """Where users reach Airflow, without a trailing slash; a path alone when ``[api] base_url`` is unset."""
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")


def allowed_origins() -> list[str]:
    """Other origins whose pages Airflow takes requests from, as ``https://portal.example``."""
    return list(conf.getlist("api", "access_control_allow_origins", fallback=[]) or [])


def secret_key() -> str:
    """The key that Airflow's web servers share, for signing."""
    return str(conf.get_mandatory_value("api", "secret_key"))
