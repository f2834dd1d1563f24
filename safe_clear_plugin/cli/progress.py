"""Progress on the standard error: a bar in a terminal, else a line now and then."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from safe_clear_plugin.cli.literal_text import literal

LINE_EVERY = 10.0
"""Seconds from one line to the next."""


class Progress:
    """Progress of a clear or an undo."""

    def __init__(self, console: Console, label: str) -> None:
        """Say what it is about."""
        self._console = console
        self._label = label
        self._bar = _bar(console) if console.is_terminal else None
        self._task = self._bar.add_task("", label=label, more="", total=None) if self._bar else None
        self._next_line = 0.0
        self._last = ""

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, done: int, total: int, more: str = "") -> None:
        """Show that ``done`` of ``total`` are; ``more`` is said behind it."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, more=literal(more))
            return
        text = f"{self._label}: {done:,} of {total:,}{f' ({literal(more)})' if more else ''}"
        now = time.monotonic()
        if text != self._last and (done == total or now >= self._next_line):
            self._console.print(text, soft_wrap=True)
            self._last, self._next_line = text, now + LINE_EVERY


def _bar(console: Console) -> Bar:
    return Bar(
        TextColumn("{task.fields[label]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[more]}", markup=False),
        console=console,
    )
