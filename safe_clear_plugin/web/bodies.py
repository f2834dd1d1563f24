"""What the body of a request says, as a form or as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import request
from werkzeug.datastructures import MultiDict

from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.web.forms import FALSE_WORDS, MOST_LINES

REASON_LENGTH = 2_000


def json_body() -> Any:
    """Return the JSON of the request, or ``None`` when it is none."""
    try:
        return request.get_json(silent=True)
    except RecursionError:
        return None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A request to clear the next batch.

    ``resume`` goes on with a plan that was stopped, ``take_over`` only with one that is being applied.
    """

    fingerprint: str
    reason: str
    resume: bool
    take_over: bool


@dataclass(frozen=True, slots=True)
class UndoRequest:
    """A request to put back the next batch; ``go_on`` asks for no more than was asked for before."""

    run_ids: tuple[str, ...]
    reason: str
    go_on: bool


def confirmation() -> Confirmation:
    """Read what confirms a plan.

    :raises Refused: 400 when it is not one, 422 when the reason is too long
    """
    body = _body('Send {"fingerprint": …}.')
    fingerprint = body.get("fingerprint")
    if not isinstance(fingerprint, str):
        raise Refused(
            400, Problem("The fingerprint is missing.", "Send the fingerprint of the plan that was shown.")
        )
    return Confirmation(fingerprint, _reason(body), _flag(body, "resume"), _flag(body, "take_over"))


def undo_request() -> UndoRequest:
    """Read what is to be undone.

    :raises Refused: 400 when it is not such a request, 422 when it is too long
    """
    body = _body('Send {"run_id": […], "reason": …}.')
    values: Any = body.getlist("run_id") if isinstance(body, MultiDict) else body.get("run_id") or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Refused(400, Problem("`run_id` is not a list of run ids.", 'Send {"run_id": ["…", "…"]}.'))
    if len(values) > MOST_LINES:
        raise Refused(
            422, Problem(f"More than {MOST_LINES:,} runs are named.", "Undo all of them, or in parts.")
        )
    run_ids = tuple(dict.fromkeys(storable(value) for value in values if value))
    return UndoRequest(run_ids, _reason(body), _flag(body, "go_on"))


def _body(remedy: str) -> Any:
    body: Any = json_body() if request.is_json else request.form
    if not hasattr(body, "get"):
        raise Refused(400, Problem("The body is not a JSON object.", remedy))
    return body


def _reason(body: Any) -> str:
    reason = body.get("reason") or ""
    if not isinstance(reason, str):
        raise Refused(400, Problem("The reason is not a text.", 'Send {"reason": "…"}, or none.'))
    reason = "".join(char for char in reason.strip() if char >= " " or char == "\n")
    if len(reason) > REASON_LENGTH:
        raise Refused(422, Problem(f"The reason is longer than {REASON_LENGTH:,} characters.", "Shorten it."))
    return storable(reason)


def _flag(body: Any, name: str) -> bool:
    return str(body.get(name) or "").strip().lower() not in FALSE_WORDS


def storable(text: str) -> str:
    """Return the text without what no database takes: NUL, lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
