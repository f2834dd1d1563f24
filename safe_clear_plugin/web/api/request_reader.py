"""Reads the body and the query of the current request into models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from flask import request
from pydantic import ValidationError

from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.web.api import form_data
from safe_clear_plugin.web.api.mistakes import Mistakes, shown_name
from safe_clear_plugin.web.api.types import Empty, Request
from safe_clear_plugin.web.app.identity import CSRF_FIELD

FORM = "application/x-www-form-urlencoded"
LONGEST_NUMBER = 20
"""Digits that are read as a whole number; no field takes more, and Python takes long for many."""

R = TypeVar("R", bound=Request)


def read_body(model: type[R]) -> R:
    """Read the body of the request, which says all: with a query, it is refused.

    :raises Refused: 400 when it cannot be read, 415 when it is neither JSON nor form data, 422 when it says
        what the model does not take
    """
    read_query(Empty)
    return _required(model, *body_values(model))


def read_query(model: type[R], *, page: bool = False) -> R:
    """Read the query of the request.

    A ``page`` has forms: an empty field counts as absent, and a date can be a spoken one.

    :raises Refused: 422 when it says what the model does not take
    """
    values, mistakes = form_data.read(request.args, model, blank_is_absent=page)
    if page:
        values = form_data.with_dates(values)
    return _required(model, values, mistakes)


def body_values(model: type[Request]) -> tuple[dict[str, Any], Mistakes]:
    """Return the values of the body by field, from JSON or from form data, and what cannot be read.

    :raises Refused: 400 or 415, as :func:`read_body`
    """
    if request.is_json:
        return _json_object(model)
    if request.mimetype == FORM or not (request.mimetype or request.get_data()):
        data = request.form.copy()
        data.poplist(CSRF_FIELD)
        return form_data.read(data, model, blank_is_absent=True)
    raise Refused(
        415, Problem("The body is neither JSON nor form data.", f"Send application/json, or {FORM}.")
    )


def validate(model: type[R], values: dict[str, Any], mistakes: Mistakes) -> R | None:
    """Return the values as the model, or add to the mistakes what it refuses."""
    wrong = {*mistakes.by_field, *mistakes.unknown}
    try:
        found = model.model_validate({name: value for name, value in values.items() if name not in wrong})
    except ValidationError as error:
        mistakes.add_invalid(error)
    return None if mistakes else found


def _required(model: type[R], values: dict[str, Any], mistakes: Mistakes) -> R:
    found = validate(model, values, mistakes)
    if found is None:
        raise mistakes.refusal(form_data.shapes(model))
    return found


def _json_object(model: type[Request]) -> tuple[dict[str, Any], Mistakes]:
    mistakes = Mistakes()
    data = request.get_data()
    body = _parsed(data, mistakes) if data else {}
    if not isinstance(body, dict):
        raise Refused(422, Problem("The body is not a JSON object.", "Send an object with the fields."))
    known = form_data.shapes(model)
    for name in body:
        if name not in known:
            mistakes.add_unknown(name)
    return {name: value for name, value in body.items() if name in known}, mistakes


def _parsed(data: bytes, mistakes: Mistakes) -> Any:
    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                mistakes.add(shown_name(name), "This field appears more than once. Send it once.")
            found[name] = value
        return found

    try:
        return json.loads(data, object_pairs_hook=unique, parse_int=_number, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Refused(400, Problem("The body is not JSON.", "Send a JSON object.")) from None


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < LONGEST_NUMBER else float(digits)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
