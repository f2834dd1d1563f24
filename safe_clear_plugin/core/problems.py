"""Refusals as values: what is wrong, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with what was asked.

    ``field`` is the form field it stands at, or ``None`` when it concerns the request as a whole.
    """

    reason: str
    remedy: str
    field: str | None = None

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
