"""Why a command failed, what to do about it, and the exit code that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safe_clear_plugin.cli.exit_codes import ExitCode


class CommandError(Exception):
    """A command that cannot go on; ``lines`` say more, each with one thing that is wrong."""

    def __init__(
        self, reason: str, remedy: str, exit_code: ExitCode = ExitCode.ERROR, lines: tuple[str, ...] = ()
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.exit_code = exit_code
        self.lines = lines


class Refused(CommandError):
    """A request that the server did not carry out; ``body`` is its answer, ``text`` the same unchanged."""

    def __init__(
        self,
        status: int,
        body: Mapping[str, Any],
        text: str,
        *,
        reason: str,
        remedy: str,
        exit_code: ExitCode,
        lines: tuple[str, ...] = (),
    ) -> None:
        super().__init__(reason, remedy, exit_code, lines)
        self.status = status
        self.body = body
        self.text = text

    @property
    def code(self) -> str:
        """The kind of the refusal; empty where no program needs to tell it from others."""
        return str(self.body.get("code") or "")


class LostAnswer(CommandError):
    """A request that may or may not have been carried out: its answer did not come."""
