"""Regular expressions that people write, compiled by RE2 within bounds of memory and time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

import re2

from safe_clear_plugin.core.input_limits import TASK_REGEX

MAX_MEMORY = 256 * 1024
"""Bytes that RE2 may use for a pattern; one that a person writes takes some ten thousand."""
MAX_SECONDS = 2.0
"""Time that one pattern may take to search task ids, in one request."""


_SPECIAL = re.compile(r"([\\.^$*+?{}\[\]|()])")

_ESCAPED = re.compile(r"\\(.)")


class RegexError(ValueError):
    """A pattern that is not used: ``reason`` says why, ``remedy`` what to do about it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class Regex:
    """A compiled pattern; ``of`` names what it is searched in, for its refusals.

    :raises RegexError: when the pattern is too long or too large, or RE2 cannot read it
    """

    def __init__(self, pattern: str, *, of: str = "task ids") -> None:
        if len(pattern) > TASK_REGEX:
            raise RegexError(
                f"A regular expression has at most {TASK_REGEX} characters.",
                f"Shorten it: use a part that the {of} share.",
            )
        self._compiled = _compile(pattern)
        self._of = of
        self._seconds = 0.0

    def search(self, text: str) -> bool:
        """Whether the pattern matches any part of the text."""
        return self._compiled.search(text) is not None

    def fullmatch(self, text: str) -> bool:
        """Whether the pattern matches the whole text."""
        return self._compiled.fullmatch(text) is not None

    def matching(self, texts: Iterable[str]) -> list[str]:
        """Return the texts in which the pattern matches any part.

        :raises RegexError: when this pattern has taken more than ``MAX_SECONDS`` for all its texts
        """
        found = []
        for text in texts:
            begun = time.perf_counter()
            if self.search(text):
                found.append(text)
            self._seconds += time.perf_counter() - begun
            if self._seconds > MAX_SECONDS:
                raise RegexError(
                    f"This regular expression takes too long to match the {self._of}.", _SIMPLIFY_REMEDY
                )
        return found


_SIMPLIFY_REMEDY = "Simplify it: use fewer and smaller repetitions, and no classes such as \\pL in them."


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = MAX_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    if text.startswith("pattern too large"):
        raise RegexError("This regular expression needs too much memory.", _SIMPLIFY_REMEDY)
    raise RegexError(
        f"This regular expression is not valid: {text}.",
        "RE2 has no lookaround and no backreferences; the rest of the syntax is the usual one.",
    )


def task_id_of(pattern: str) -> str:
    """Return the task id of a pattern made by :func:`exactly`; empty for any other pattern."""
    task_id = _ESCAPED.sub(r"\1", pattern[1:-1])
    return task_id if pattern == exactly(task_id) else ""


def exactly(task_id: str) -> str:
    """Return the pattern that matches only this task id."""
    return "^" + _SPECIAL.sub(r"\\\1", task_id) + "$"
