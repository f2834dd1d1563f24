"""Refusals as values: the reason, and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOTHING_TO_CLEAR = "nothing_to_clear"
"""The code of a problem that is none to a program: no task instance is in the states to clear."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Another selection that would match something: the text of its button, and the fields that it changes.

    A list or text that is empty, and ``None``, leave a field out.
    """

    text: str
    changes: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"text": self.text, "changes": dict(self.changes)}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with what was asked.

    ``field`` is the form field it stands at, or ``None`` when it concerns the request as a whole. ``code`` is
    its kind, where a program acts on it.
    """

    reason: str
    remedy: str
    field: str | None = None
    suggestions: tuple[Suggestion, ...] = ()
    code: str = ""

    def __str__(self) -> str:
        return f"{self.reason} {self.remedy}".strip()


class Refused(Exception):
    """A request that is not carried out, with the HTTP status that says why.

    ``details`` goes into the JSON answer beside ``error`` and ``remedy``.
    """

    def __init__(self, status: int, problem: Problem, details: dict[str, Any] | None = None) -> None:
        super().__init__(str(problem))
        self.status = status
        self.problem = problem
        self.details = details or {}


class Invalid(Exception):
    """A selection that cannot be planned: one or more problems, each at its field."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


class NothingMatches(Invalid):
    """A valid selection that matches no task instance of its DAG."""
