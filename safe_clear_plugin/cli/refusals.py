"""Refusals of the server, in words, with a remedy and an exit code."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from safe_clear_plugin.cli.errors import CommandError, LostAnswer, Refused
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.login import HOW_TO_LOG_IN
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.drift import side_text

PASSING_CODES = ("database_unreachable", "database_busy")
"""Failures of the database that may be over at the next try."""
APPROVAL = "approval"
"""Requirements of a confirmation that only somebody else can meet."""
OPTIONS = {
    "reason": "--reason",
    "confirm_dag_id": "--confirm-dag-id",
    "confirm_task_instances": "--confirm-task-instances",
    "waves": "--all-at-once",
    "acknowledge": "--acknowledge",
}
"""The option that gives what a confirmation lacks."""
WHAT_WAS_DONE = "`safe-clear history --mine` shows what was done."


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object in a text; an empty one if there is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_passing(found: httpx.Response) -> bool:
    """Whether an answer says that the same request may succeed in a moment."""
    if is_sent_too_soon(found) or found.status_code in (502, 504):
        return True
    if found.status_code != 503:
        return False
    body = json_object(found.text)
    return "error" not in body or body.get("code") in PASSING_CODES


def is_sent_too_soon(found: httpx.Response) -> bool:
    """Whether a request was refused before any part of it was carried out."""
    return found.status_code == 429


def is_unclear(found: httpx.Response) -> bool:
    """Whether an answer is a failure from which the result of the request is not known.

    One example is the answer of a proxy that waited too long.
    """
    return found.status_code >= 500 and "error" not in json_object(found.text)


def seconds_to_wait(found: httpx.Response) -> float:
    """Return how long the server asks the client to wait; it names seconds or a moment."""
    asked = found.headers.get("Retry-After", "")
    if asked.isdecimal():
        return float(asked)
    try:
        moment = parsedate_to_datetime(asked)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - utcnow()).total_seconds())


def refused(server: str, found: httpx.Response) -> CommandError:
    """Return why a request was not carried out."""
    status, body = found.status_code, json_object(found.text)
    if found.is_redirect:
        return CommandError(
            f"The server redirects to {found.headers.get('Location', 'another address')}.",
            "Set --server to the address that users open, with its path.",
        )
    if isinstance(body.get("error"), str):
        return Refused(
            status,
            body,
            found.text,
            reason=body["error"],
            remedy=_remedy(status, body),
            exit_code=_exit_code(status, body),
            lines=_lines(body),
        )
    reason, remedy = _without_words(server, status, found)
    return Refused(status, body, found.text, reason=reason, remedy=remedy, exit_code=ExitCode.ERROR)


def _remedy(status: int, body: Mapping[str, Any]) -> str:
    if status == 401:
        return HOW_TO_LOG_IN
    remedy = str(body.get("remedy") or "")
    named = f" The api-server's log has the error as {body['error_id']}." if body.get("error_id") else ""
    return remedy + named


def _exit_code(status: int, body: Mapping[str, Any]) -> ExitCode:
    missing = {str(one.get("what")) for one in _missing(body)}
    if missing:
        return ExitCode.WAITS if missing == {APPROVAL} else ExitCode.REFUSED
    if status in (409, 410):
        return ExitCode.FAILED if body.get("status") == "stopped" else ExitCode.REFUSED
    return ExitCode.ERROR


def _missing(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = body.get("missing")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _lines(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is missing, wrong or changed, a line each."""
    lines = [f"{one.get('reason')} {one.get('remedy')}{_option(one)}" for one in _missing(body)]
    if isinstance(errors := body.get("errors"), dict) and len(errors) > 1:
        lines += [f"{name}: {text}" for name, texts in errors.items() for text in texts]
    lines += [describe_drift(one) for one in body.get("drift") or () if isinstance(one, dict)]
    for dag in body.get("dags") or ():
        if isinstance(dag, dict) and dag.get("error"):
            lines.append(f"{dag.get('dag_id')}: {dag['error']} {dag.get('remedy') or ''}".rstrip())
            lines += [f"  {describe_drift(one)}" for one in dag.get("drift") or () if isinstance(one, dict)]
    lines += [_suggestion(one) for one in body.get("suggestions") or () if isinstance(one, dict)]
    return tuple(lines)


def _suggestion(one: Mapping[str, Any]) -> str:
    """Return another selection that would match something, as options."""
    options = []
    for name, value in (one.get("changes") or {}).items():
        option = f"--{name.replace('_', '-')}"
        if value in (None, "", []):
            options.append(f"without {option}")
        else:
            values = value if isinstance(value, list) else [value]
            options += [option if each is True else f"{option} {each}" for each in values]
    return f"{one.get('text')}: {' '.join(options)}"


def _option(one: Mapping[str, Any]) -> str:
    what = str(one.get("what"))
    option = OPTIONS.get(what)
    if what == "acknowledge":
        value = one.get("value")
        return f" ({option} {':'.join(map(str, value)) if isinstance(value, list) else value})"
    return f" ({option})" if option else ""


def describe_drift(row: Mapping[str, Any]) -> str:
    """Return what changed of a row since the preview."""
    where = [str(row[name]) for name in ("run_id", "task_id") if row.get(name)]
    if row.get("map_index") not in (None, -1):
        where.append(f"[{row['map_index']}]")
    sides = [
        side_text(row.get(name), row.get(f"{name}_state"), row.get(f"{name}_try"))
        for name in ("before", "now")
    ]
    moved = " → ".join(sides) if any(sides) else ""
    return " ".join(part for part in (*where, str(row.get("how") or row.get("what") or ""), moved) if part)


def _without_words(server: str, status: int, found: httpx.Response) -> tuple[str, str]:
    """Return reason and remedy of an answer that is not Safe Clear's own."""
    said = f"{_said(found)}."
    if status == 401:
        return "You are not logged in, or your token has expired.", HOW_TO_LOG_IN
    if status == 404:
        return (
            f"There is no Safe Clear at {server}.",
            "Check --server: the address that users open, with its path. The api-server needs the package "
            "airflow-safe-clear and the FAB provider.",
        )
    if found.is_success:
        return (
            f"What answers at {server} is not Safe Clear.",
            "Check --server, and whether a proxy asks for a login of its own.",
        )
    return said, "Try again later, or look at the log of the api-server and of the proxies before it."


def _said(found: httpx.Response) -> str:
    return f"The server answered {found.status_code} {found.reason_phrase}".strip()


def refused_login(user: str, status: int) -> CommandError:
    """Return why there is no token for a user and a password."""
    if status in (400, 401, 403):
        return CommandError(
            f"Airflow refused the login of {user}.",
            "Check user and password. With single sign-on there may be none: use a token.",
        )
    if status in (404, 405, 422, 501):
        return CommandError(
            f"This Airflow gives no tokens for a user and a password ({status}).",
            "Check --server, or use a token: SAFE_CLEAR_TOKEN or --token-file.",
        )
    return CommandError(
        f"The login failed: the server answered {status}.", "Try again, or use a token: SAFE_CLEAR_TOKEN."
    )


def unreachable(server: str, error: Exception) -> CommandError:
    """Return why there is no connection."""
    if is_certificate_error(error):
        return CommandError(
            f"The certificate of {server} is not trusted: {_cause(error)}.",
            "Check the address. For a certificate of your own, give --ca FILE or set SAFE_CLEAR_CA.",
        )
    return CommandError(
        f"Can't connect to {server}: {_cause(error)}.",
        "Check --server or SAFE_CLEAR_SERVER, and that the api-server is running.",
    )


def lost_answer(server: str, error: Exception) -> CommandError:
    """Return that the answer did not come."""
    why = "it took too long" if isinstance(error, httpx.TimeoutException) else _cause(error)
    return LostAnswer(f"No answer from {server}: {why}.", f"{WHAT_WAS_DONE} Give --timeout for more time.")


def unclear_answer(found: httpx.Response) -> CommandError:
    """Return the error for an answer that does not say whether the request was carried out."""
    return LostAnswer(
        f"{_said(found)}, so it is not known whether the request was carried out.", WHAT_WAS_DONE
    )


def is_certificate_error(error: BaseException) -> bool:
    """Whether a connection failed because the server's certificate is not trusted."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _cause(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__
