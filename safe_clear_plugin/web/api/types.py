"""Kinds of values in a request: strict, never empty, none longer than it may be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args
from zoneinfo import ZoneInfo
from zoneinfo import available_timezones as read_available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    Strict,
    StringConstraints,
)
from pydantic_core import CoreSchema, PydanticCustomError
from werkzeug.datastructures import MultiDict

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.dates import NoSuchDay, parse_moment, parse_wall_clock

CONTROL = r"\x00-\x1f\x7f-\x9f"
NO_CONTROL = f"^[^{CONTROL}]*$"
"""No id in Airflow holds control characters, and no page shows them."""
NO_NUL = r"^[^\x00]*$"
"""A run id may hold a line break where Airflow's pattern for them was loosened; no database stores NUL."""

T = TypeVar("T")


class Request(BaseModel):
    """The body or the query of a request: a name that it does not have is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    def args(self) -> MultiDict[str, str]:
        """Return what was given as a query."""
        found: MultiDict[str, str] = MultiDict()
        for name, value in self.model_dump(by_alias=True, exclude_unset=True).items():
            found.setlist(name, value if isinstance(value, list) else [str(value)])
        return found


class Empty(Request):
    """Nothing beside the address."""


class NotNull:
    """Marks a value that is left out where it is not given, and never null."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the type without ``None``."""
        (inner,) = (one for one in get_args(source) if one is not NoneType)
        return handler(inner)


class OneALine:
    """Marks a list whose values stand one a line in form data."""


class AsTyped:
    """Marks a text that form data gives with the blanks at its ends."""


class AsJson:
    """Marks values that form data gives as JSON."""


@cache
def available_timezones() -> frozenset[str]:
    """Return the names of all time zones; reading them takes a while."""
    return frozenset(read_available_timezones())


def read_moment(text: str, zone: ZoneInfo, *, end: bool) -> datetime:
    """Read a date as :func:`parse_moment` does.

    :raises PydanticCustomError: when it is none
    """
    try:
        return parse_moment(text, zone, end=end)
    except NoSuchDay as error:
        raise PydanticCustomError(
            "date",
            "{day} doesn't exist in {zone}: its clocks leave the day out.",
            {"day": error.day.isoformat(), "zone": error.zone.key},
        ) from None
    except (ValueError, OverflowError):
        raise _no_date() from None


def read_wall_clock(text: str, *, end: bool) -> datetime:
    """Read a date as :func:`parse_wall_clock` does.

    :raises PydanticCustomError: when it is none
    """
    try:
        return parse_wall_clock(text, end=end)
    except ValueError:
        raise _no_date() from None


def _no_date() -> PydanticCustomError:
    return PydanticCustomError("date", "Enter a date (2026-11-01) or a date and time (2026-11-01 06:30).")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "This field is empty.")
    return text


def _no_blank_ends(text: str) -> str:
    if text != text.strip():
        raise PydanticCustomError("blank_ends", "Remove the spaces at the start and the end.")
    return text


def _moment(text: str) -> str:
    read_moment(text, ZoneInfo("UTC"), end=False)
    return text


def _timezone(name: str) -> str:
    if name not in available_timezones():
        raise PydanticCustomError(
            "timezone",
            "Unknown time zone {name}. Use a name such as UTC or Europe/Berlin.",
            {"name": name},
        )
    return name


def _shown(value: Any) -> Any:
    """Drop the control characters of a text that people write, but for its line breaks."""
    if not isinstance(value, str):
        return value
    return re.sub(f"[{CONTROL}]", lambda found: "\n" if found[0] == "\n" else "", value)


def as_tuple(value: Any) -> Any:
    """Return a list as a tuple, which JSON does not have."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _text(most: int, pattern: str = NO_CONTROL) -> StringConstraints:
    return StringConstraints(min_length=1, max_length=most, pattern=pattern)


_items = Field(min_length=1, max_length=input_limits.LIST_ITEMS)

Maybe = Annotated[T | None, NotNull()]
Named = Annotated[T, Strict(strict=False)]
"""A member of an enum, by its value."""
Id = Annotated[str, _text(input_limits.ID), AfterValidator(_not_blank)]
StoredId = Annotated[str, _text(input_limits.ID, NO_NUL), AfterValidator(_not_blank)]
"""An id that a plan has already, or has not."""
Filter = Annotated[str, _text(input_limits.FILTER, NO_NUL)]
Word = Annotated[str, _text(input_limits.WORD)]
Typed = Annotated[str, StringConstraints(max_length=input_limits.WORD, pattern=NO_CONTROL)]
"""A short text that may be empty."""
TaskRegex = Annotated[str, _text(input_limits.TASK_REGEX), AfterValidator(_no_blank_ends), AsTyped()]
Date = Annotated[str, _text(input_limits.DATE)]
"""A date in a time zone that another field names."""
Moment = Annotated[str, _text(input_limits.DATE), AfterValidator(_moment)]
Timezone = Annotated[str, _text(input_limits.TIMEZONE), AfterValidator(_timezone)]
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=input_limits.REASON, strip_whitespace=True),
    BeforeValidator(_shown, json_schema_input_type=str),
]
MapIndex = Annotated[int, Field(ge=-1, le=input_limits.MAP_INDEX)]
Count = Annotated[int, Field(ge=0, le=input_limits.OFFSET)]
Offset = Annotated[int, Field(ge=0, le=input_limits.OFFSET, description="Rows to skip.")]
Key = Annotated[
    tuple[Id, MapIndex, Id], BeforeValidator(as_tuple, json_schema_input_type=tuple[Id, MapIndex, Id])
]
"""Task id, map index and run id of a task instance."""
Ids = Annotated[list[Id], _items, OneALine()]
Names = Annotated[
    list[
        Annotated[str, _text(input_limits.FILTER), AfterValidator(_not_blank), AfterValidator(_no_blank_ends)]
    ],
    Field(min_length=1, max_length=input_limits.NAMES),
    OneALine(),
]
"""Names that are each to be met whole."""
StoredIds = Annotated[list[StoredId], _items]
Keys = Annotated[list[Key], _items, OneALine(), AsJson()]
