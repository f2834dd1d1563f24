"""Pages of long lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of how many are shown; ``previous`` and ``next`` are offsets, or ``None`` at the ends."""

    total: int
    offset: int
    limit: int

    @property
    def previous(self) -> int | None:
        """Offset of the page before."""
        return max(0, self.offset - self.limit) if self.offset else None

    @property
    def next(self) -> int | None:
        """Offset of the page after."""
        return self.offset + self.limit if self.offset + self.limit < self.total else None


def number(args: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """Read a whole number from the query, held within its bounds."""
    text = args.get(name, "")
    return (
        min(most, max(least, int(text))) if text.isascii() and text.isdigit() and len(text) < 12 else default
    )
