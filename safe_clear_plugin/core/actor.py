"""The person who acts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """A user: the id that the auth manager knows, and the name that people know."""

    id: str
    name: str
