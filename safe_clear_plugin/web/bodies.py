"""What the body of a request says, as a form or as JSON. An unknown name is refused, never ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import request
from werkzeug.datastructures import MultiDict

from safe_clear_plugin.core.policy import Given
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.web.fields import FALSE_WORDS, MOST_LINES
from safe_clear_plugin.web.identity import CSRF_FIELD

REASON_LENGTH = 2_000
ID_LENGTH = 1_000
NO_RUN = Problem("`run_id` is given, but names no run.", "Name the runs; leave it out for all of them.")


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
    given: Given
    resume: bool
    take_over: bool


@dataclass(frozen=True, slots=True)
class UndoRequest:
    """A request to put back the next batch; ``go_on`` asks for no more than was asked for before.

    No ``run_ids`` stand for all; ``cleared_runs`` is how many there were when that was decided.
    """

    run_ids: tuple[str, ...]
    reason: str
    go_on: bool
    cleared_runs: int | None


def confirmation() -> Confirmation:
    """Read what confirms a plan.

    :raises Refused: 400 when it is not one, 422 when it says too much
    """
    body = _body(
        'Send {"fingerprint": …}.',
        ("fingerprint", "reason", "resume", "take_over", "confirm_dag_id", "acknowledge"),
    )
    fingerprint = body.get("fingerprint")
    if not isinstance(fingerprint, str):
        raise Refused(
            400, Problem("The fingerprint is missing.", "Send the fingerprint of the plan that was shown.")
        )
    given = Given(
        reason=_reason(body),
        confirm_dag_id=_text(body, "confirm_dag_id")[:ID_LENGTH],
        acknowledge=_texts(body, "acknowledge"),
    )
    return Confirmation(fingerprint, given, _flag(body, "resume"), _flag(body, "take_over"))


def undo_request() -> UndoRequest:
    """Read what is to be undone. No ``run_id`` at all means all runs; an empty one is a mistake.

    :raises Refused: 400 when it is not such a request, 422 when it says too much or nothing
    """
    body = _body('Send {"run_id": […], "reason": …}.', ("run_id", "reason", "go_on", "cleared_runs"))
    run_ids = tuple(value for value in _texts(body, "run_id") if value.strip())
    if "run_id" in body and not run_ids:
        raise Refused(422, NO_RUN)
    return UndoRequest(run_ids, _reason(body), _flag(body, "go_on"), _number(body, "cleared_runs"))


def reason_alone() -> str:
    """Read a body that has a reason and nothing else.

    :raises Refused: 400 when it is none, 422 when it says more
    """
    return _reason(_body('Send {"reason": …}.', ("reason",)))


def nothing() -> None:
    """Read a body that says nothing.

    :raises Refused: 400 when it is none, 422 when it says something
    """
    _body("Send {}.", ())


def _body(remedy: str, names: Sequence[str]) -> Any:
    body: Any = request.form
    if request.is_json:
        body = json_body() if request.get_data() else {}
    if not hasattr(body, "get"):
        raise Refused(400, Problem("The body is not a JSON object.", remedy))
    if unknown := [name for name in body if name not in (*names, CSRF_FIELD)]:
        listed = ", ".join(f"`{storable(name)[:100]}`" for name in unknown[:10])
        known = f"Those that there are: {', '.join(f'`{name}`' for name in names)}." if names else remedy
        raise Refused(
            422,
            Problem(f"There is no field {listed} here.", known),
            {"unknown": [storable(name)[:100] for name in unknown[:10]]},
        )
    return body


def _texts(body: Any, name: str) -> tuple[str, ...]:
    """Return the values of a list, each once."""
    values: Any = body.getlist(name) if isinstance(body, MultiDict) else body.get(name)
    if values is None:
        values = []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Refused(400, Problem(f"`{name}` is not a list of texts.", f'Send {{"{name}": ["…", "…"]}}.'))
    if len(values) > MOST_LINES:
        raise Refused(
            422, Problem(f"`{name}` has more than {MOST_LINES:,} values.", "Send fewer of them at once.")
        )
    return tuple(dict.fromkeys(storable(value) for value in values))


def _text(body: Any, name: str) -> str:
    text = body.get(name) or ""
    if not isinstance(text, str):
        raise Refused(400, Problem(f"`{name}` is not a text.", f'Send {{"{name}": "…"}}, or none.'))
    return storable(text.strip())


def _reason(body: Any) -> str:
    reason = "".join(char for char in _text(body, "reason") if char >= " " or char == "\n")
    if len(reason) > REASON_LENGTH:
        raise Refused(422, Problem(f"The reason is longer than {REASON_LENGTH:,} characters.", "Shorten it."))
    return reason


def _number(body: Any, name: str) -> int | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).isdecimal():
        raise Refused(400, Problem(f"`{name}` is not a number.", "Send the number that the preview shows."))
    return int(str(value)[:10])


def _flag(body: Any, name: str) -> bool:
    return str(body.get(name) or "").strip().lower() not in FALSE_WORDS


def storable(text: str) -> str:
    """Return the text without what no database takes: NUL, lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
