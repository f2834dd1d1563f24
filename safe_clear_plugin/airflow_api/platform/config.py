"""Safe Clear's options and the Airflow options that it obeys."""

from __future__ import annotations

import math
import os
from configparser import ConfigParser

import airflow
from airflow.configuration import conf
from airflow.exceptions import AirflowConfigException

from safe_clear_plugin.core.limits import Limits
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.webhook import Format, Webhook, host_of, signing_key

SECTION = "safe_clear"
AIRFLOW_VERSION: str = airflow.__version__


def _whole_number(name: str, least: int = 0) -> int:
    """Return an option. If the option can't be read, the request is refused, so that no limit is lifted.

    :raises Refused: 503, naming the option
    """
    try:
        return max(least, int(conf.getint(SECTION, name)))
    except AirflowConfigException:
        raise _unreadable(name, "a whole number") from None


def _seconds(name: str) -> float:
    """Return an option that is a time. If it can't be read, the request is refused.

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


def _text(name: str) -> str:
    """Return an option that is a text.

    :raises Refused: 503, naming the option, if its command or its secrets backend does not yield it
    """
    try:
        return str(conf.get(SECTION, name)).strip()
    except AirflowConfigException:
        raise _unreadable(name, "available") from None


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


def canary_above() -> int:
    """Task instances above which a clear waits after its first dag run, unless it is confirmed otherwise."""
    return _whole_number("canary_above")


def approval_ttl_minutes() -> int:
    """Minutes that a second person may apply a plan after its author asked for that."""
    return _whole_number("approval_ttl_minutes")


def limits() -> Limits:
    """The limits of a clear, as they are configured now."""
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
    """Seconds that the findings of a preview may take; the plan is stored without the rest. 0: no limit."""
    return _seconds("findings_timeout")


def history_retention_days() -> int:
    """Days that receipts and before-images are kept; 0 keeps them forever."""
    return _whole_number("history_retention_days")


def create_tables() -> bool:
    """Whether the api-server makes Safe Clear's tables where no migration has."""
    return _yes_or_no("create_tables")


def drives_in_api_server() -> bool:
    """Whether each api-server process runs a driver, or only ``airflow safe-clear driver`` does.

    :raises Refused: 503 when the option is neither
    """
    where = str(conf.get(SECTION, "driver")).strip()
    if where not in ("api-server", "none"):
        raise _unreadable("driver", "`api-server` or `none`")
    return where == "api-server"


def speedups() -> bool:
    """Whether a clear answers and combines statements of Airflow's function, for speed."""
    return _yes_or_no("speedups")


def base_url() -> str:
    """Airflow's address for users, without a trailing slash; only a path when ``[api] base_url`` is unset."""
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")


def plan_url(plan_id: str) -> str | None:
    """The address of a plan's page for messages, which no request tells the host of."""
    return _page_url(f"plans/{plan_id}")


def change_set_url(set_id: str) -> str | None:
    """The address of a change set's page, for webhook messages."""
    return _page_url(f"change_sets/{set_id}")


def _page_url(page: str) -> str | None:
    base = base_url()
    return f"{base}/pluginsv2/safe_clear/{page}" if "://" in base else None


def has_webhook() -> bool:
    """Whether a URL is set, or a command or a secrets backend that gives it.

    These two are not asked, since that takes time: this is called while a clear holds locks.
    """
    name = "webhook_url"
    variable = f"AIRFLOW__{SECTION.upper()}__{name.upper()}"
    if variable in os.environ:
        return bool(os.environ[variable].strip())
    return any(
        f"{variable}_{source}" in os.environ or _is_in_file(f"{name}_{source.lower()}")
        for source in ("CMD", "SECRET")
    ) or _is_in_file(name)


def _is_in_file(name: str) -> bool:
    """Whether ``airflow.cfg`` has an option that is not empty."""
    return bool(ConfigParser.get(conf, SECTION, name, raw=True, fallback="").strip())


def webhook() -> Webhook | None:
    """The receiver of messages, if there is one.

    :raises Refused: 503, naming the option that cannot be used
    """
    url = _text("webhook_url")
    if not url:
        return None
    if not url.lower().startswith(("https://", "http://")) or not host_of(url):
        raise _unreadable("webhook_url", "an address that begins with https:// or http://")
    secret = _text("webhook_secret")
    try:
        signing_key(secret)
    except ValueError:
        raise _unreadable("webhook_secret", "Base64 after whsec_") from None
    try:
        return Webhook(url, secret, Format(_text("webhook_format").lower()))
    except ValueError:
        raise _unreadable("webhook_format", " or ".join(Format)) from None


def allowed_origins() -> list[str]:
    """Other origins whose pages Airflow takes requests from, as ``https://portal.example``."""
    return list(conf.getlist("api", "access_control_allow_origins", fallback=[]) or [])


def secret_key() -> str:
    """The key that Airflow's web servers share, for signing."""
    return str(conf.get_mandatory_value("api", "secret_key"))
