"""The exit codes of every command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The result of a command."""

    DONE = 0
    ERROR = 1
    CHANGES = 2
    REFUSED = 3
    WAITS = 4
    FAILED = 5
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "Done, or there was nothing to do.",
    ExitCode.ERROR: "An error: wrong usage, no connection, no permission, an invalid selection, or no end "
    "within `--wait-timeout`.",
    ExitCode.CHANGES: "With `--detailed-exitcode` only: the plan has something to clear.",
    ExitCode.REFUSED: "Stale or refused: the plan changed, expired or is not allowed. Nothing was done.",
    ExitCode.WAITS: "The plan waits for a person: someone else must approve it, or it must be continued.",
    ExitCode.FAILED: "The clear or the undo stopped before it was complete. "
    "With `--wait` also: re-runs failed, or the clear was undone.",
    ExitCode.INTERRUPTED: "Interrupted with Ctrl+C.",
}
"""The meaning of each exit code, for the documentation."""
