"""Form data and queries as the values that a model takes: text by text, by the kind of each field."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from werkzeug.datastructures import MultiDict

from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.selection import MOMENTS
from safe_clear_plugin.core.spoken_dates import as_date
from safe_clear_plugin.web.api.mistakes import Mistakes
from safe_clear_plugin.web.api.types import AsJson, AsTyped, OneALine, available_timezones

WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")
FLAGS = {"true": True, "false": False}
CHECKBOX = ["false", "true"]
"""The value that a page sends for a ticked box: a hidden field says what an unticked one means."""

Kind = Literal["text", "flag", "number", "list", "object"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A field of a model; ``marks`` say how form data writes it."""

    kind: Kind
    item: Kind
    marks: frozenset[type]
    model: type[BaseModel] | None = None
    """Of an object."""


@cache
def shapes(model: type[BaseModel]) -> dict[str, Shape]:
    """Return the shape of each field by the name that a request gives it."""
    return {field.alias or name: _shape(field) for name, field in model.model_fields.items()}


@cache
def form_shapes(model: type[BaseModel]) -> dict[str, Shape]:
    """Return the same as form data names it: the fields of an object as ``object.field``."""
    found: dict[str, Shape] = {}
    for name, shape in shapes(model).items():
        if shape.model is None:
            found[name] = shape
        else:
            found |= {f"{name}.{inner}": one for inner, one in shapes(shape.model).items()}
    return found


def _shape(field: FieldInfo) -> Shape:
    base, marks = _unwrapped(field.annotation)
    marks |= {type(one) for one in field.metadata}
    if isinstance(base, type) and issubclass(base, BaseModel):
        return Shape("object", "object", marks, base)
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
    known, values, mistakes = form_shapes(model), dict[str, Any](), Mistakes()
    for name in data:
        given = data.getlist(name)
        shape = known.get(name)
        if shape is None:
            mistakes.add_unknown(name)
        elif shape.kind == "list":
            if (items := _items(given, shape, blank_is_absent=blank_is_absent)) is not None:
                _put(values, name, items)
        elif len(given) > 1 and not (shape.kind == "flag" and given == CHECKBOX):
            mistakes.add(name, "This field appears more than once. Send it once.")
        elif not (blank_is_absent and not given[-1].strip()):
            _put(values, name, _single(given[-1], shape, strip=blank_is_absent))
    return values, mistakes


def with_dates(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a form gives, with ``yesterday`` or ``-3d`` in its date fields written as dates.

    Only people who see how a date was read may give it like this; programs give dates.
    """
    zone = values.get("timezone", "UTC")
    now = utcnow().astimezone(ZoneInfo(zone if zone in available_timezones() else "UTC"))
    said = {name: text for name in MOMENTS if isinstance(text := values.get(name), str)}
    return {**values, **{name: as_date(text, now) for name, text in said.items()}}


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    """Put a value where its name says, into an object if it names one."""
    of, dot, inner = name.partition(".")
    if dot:
        values.setdefault(of, {})[inner] = value
    else:
        values[name] = value


def _single(text: str, shape: Shape, *, strip: bool) -> Any:
    if AsJson in shape.marks:
        return _parsed(text)
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
