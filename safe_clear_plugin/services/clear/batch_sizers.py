"""What this process has learned of how many task instances a transaction can take."""

from __future__ import annotations

from safe_clear_plugin.core.batch_size import BatchSizer

CLEAR = BatchSizer()
UNDO = BatchSizer()


def forget() -> None:
    """Know as little as a new process does."""
    CLEAR.forget()
    UNDO.forget()
