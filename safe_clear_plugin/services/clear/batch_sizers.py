"""The measured batch sizes of this process, one for each kind of transaction."""

from __future__ import annotations

from safe_clear_plugin.core.batch_size import BatchSizer

CLEAR = BatchSizer()
UNDO = BatchSizer()


def forget() -> None:
    """Know as little as a new process does."""
    CLEAR.forget()
    UNDO.forget()
