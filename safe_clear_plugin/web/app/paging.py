"""Pages of long lists."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """A page of rows; ``previous`` and ``next`` are offsets, or ``None`` at the ends."""

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
