"""The base of the enums whose values are stored, sent as JSON and compared in SQL."""

from __future__ import annotations

from enum import Enum


class Code(str, Enum):
    """A value that is its own text, in f-strings and for database drivers too.

    ``enum.StrEnum`` would do, but Python 3.10 has none.
    """

    __str__ = str.__str__

    def __format__(self, format_spec: str) -> str:
        return str.__format__(self.value, format_spec)
