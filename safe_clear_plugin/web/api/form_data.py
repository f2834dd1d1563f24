"""Form data and queries as the values that a model takes: text by text, by the kind of each field."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from werkzeug.datastructures import MultiDict

from safe_clear_plugin.web.api.mistakes import Mistakes
from safe_clear_plugin.web.api.types import AsJson, AsTyped, OneALine

WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")
FLAGS = {"true": True, "false": False}
CHECKBOX = ["false", "true"]
"""What a page sends for a ticked box: a hidden field says what an unticked one means."""

Kind = Literal["text", "flag", "number", "list"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a field of a model takes; ``marks`` say how form data writes it."""

    kind: Kind
    item: Kind
    marks: frozenset[type]


@cache
def shapes(model: type[BaseModel]) -> dict[str, Shape]:
    """Return the shape of each field by the name that a request gives it."""
    return {field.alias or name: _shape(field) for name, field in model.model_fields.items()}


def _shape(field: FieldInfo) -> Shape:
    base, marks = _unwrapped(field.annotation)
    marks |= {type(one) for one in field.metadata}
    if get_origin(base) is list:
        item, _ = _unwrapped(get_args(base)[0])
        return Shape("list", _kind(item), marks)
    return Shape(_kind(base), _kind(base), marks)


def _unwrapped(annotation: Any) -> tuple[Any, frozenset[type]]:
    """Return the type inside ``Annotated`` and ``| None``, and the marks on the way to it."""
    marks: set[type] = set()
    while True:
        if get_origin(annotation) is Annotated:
            marks |= {type(one) for one in annotation.__metadata__}
            annotation = annotation.__origin__
        elif get_origin(annotation) in (Union, UnionType):
            (annotation,) = (one for one in get_args(annotation) if one is not NoneType)
        else:
            return annotation, frozenset(marks)


def _kind(base: Any) -> Kind:
    return "flag" if base is bool else "number" if base is int else "text"


def read(
    data: MultiDict[str, str], model: type[BaseModel], *, blank_is_absent: bool
) -> tuple[dict[str, Any], Mistakes]:
    """Return what the data gives, by field, and the fields that make no sense.

    What cannot be converted is left as it is, for the model to refuse. With ``blank_is_absent`` an empty text
    stands for a field of a page that was left empty.
    """
    known, values, mistakes = shapes(model), dict[str, Any](), Mistakes()
    for name in data:
        given = data.getlist(name)
        shape = known.get(name)
        if shape is None:
            mistakes.add_unknown(name)
        elif shape.kind == "list":
            if (items := _items(given, shape, blank_is_absent=blank_is_absent)) is not None:
                values[name] = items
        elif len(given) > 1 and not (shape.kind == "flag" and given == CHECKBOX):
            mistakes.add(name, "This field appears more than once. Send it once.")
        elif not (blank_is_absent and not given[-1].strip()):
            values[name] = _single(given[-1], shape, strip=blank_is_absent)
    return values, mistakes


def _single(text: str, shape: Shape, *, strip: bool) -> Any:
    return _converted(text.strip() if strip and AsTyped not in shape.marks else text, shape.kind)


def _converted(text: str, kind: Kind) -> Any:
    if kind == "flag":
        return FLAGS.get(text, text)
    if kind == "number" and WHOLE_NUMBER.fullmatch(text):
        return int(text)
    return text


def _items(given: Sequence[str], shape: Shape, *, blank_is_absent: bool) -> list[Any] | None:
    """Return the items of a list; a blank one among several is kept, for the model to refuse."""
    if OneALine in shape.marks and blank_is_absent:
        if len(given) == 1 and not given[0].strip():
            return None
        given = [line.strip() for text in given for line in _lines(text)]
    if AsJson in shape.marks:
        return [_parsed(text) for text in given]
    return [_converted(text, shape.item) for text in given]


def _lines(text: str) -> Sequence[str]:
    return [line for line in re.split(r"\r?\n", text) if line.strip()] or [text]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
