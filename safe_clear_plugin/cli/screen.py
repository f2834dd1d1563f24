"""The output of a command: results on standard output, questions, progress and errors on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from safe_clear_plugin.cli.errors import CommandError, Refused
from safe_clear_plugin.cli.literal_text import literal, literal_lines

ALWAYS, NEVER = "always", "never"
GAP = "  "


class Screen:
    """Both streams of a command, in colors where they are a terminal."""

    def __init__(self, color: str | None = None, *, as_json: bool = False) -> None:
        """Choose the colors; with ``as_json`` the standard output has nothing but JSON."""
        self.as_json = as_json
        self._out = _console(color, stderr=False)
        self._err = _console(color, stderr=True)

    @property
    def can_ask(self) -> bool:
        """Whether there is a person to answer a question."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def progress_console(self) -> Console:
        """Where progress is shown."""
        return self._err

    def line(self, *parts: str | tuple[str, str], indent: int = 0) -> None:
        """Print a line of texts, each plain or with a style, unless the output is JSON."""
        if not self.as_json:
            self._out.print(_line(parts, indent), soft_wrap=True)

    def paragraph(self, text: object, style: str = "", indent: int = 0) -> None:
        """Print a text that people write, which may have several lines."""
        for line in literal_lines(text):
            self.line((line, style), indent=indent)

    def table(self, rows: Iterable[Sequence[tuple[str, str]]], indent: int = 0) -> None:
        """Print rows of cells, each a text and a style, in columns as wide as they need."""
        kept = [[(literal(text), style) for text, style in row] for row in rows]
        widths = [max(cell_len(row[at][0]) for row in kept) for at in range(len(kept[0]))] if kept else []
        for row in kept:
            cells: list[str | tuple[str, str]] = []
            for (text, style), width in zip(row, widths, strict=True):
                cells += [(text, style), " " * (width - cell_len(text)) + GAP]
            self.line(*cells, indent=indent)

    def json(self, text: str) -> None:
        """Print the server's JSON as it is."""
        if self.as_json:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
            sys.stdout.flush()

    def note(self, *parts: str | tuple[str, str], indent: int = 0) -> None:
        """Print a line beside the result."""
        self._err.print(_line(parts, indent), soft_wrap=True)

    def error(self, error: CommandError) -> None:
        """Print why a command failed and what to do; where JSON is wanted, the server's answer too."""
        if isinstance(error, Refused):
            self.json(error.text)
        self.note(("Error: ", "bold red"), error.reason)
        for line in error.lines:
            self.note(line, indent=2)
        if error.remedy:
            self.note(error.remedy)

    def ask(self, question: str) -> str:
        """Ask for a line of text; the end of the input is an empty one."""
        self._err.print(Text(literal(question)), end="", soft_wrap=True)
        return sys.stdin.readline().strip()


def _line(parts: Iterable[str | tuple[str, str]], indent: int) -> Text:
    found = Text(" " * indent)
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        found.append(literal(text), style)
    found.rstrip()
    return found


class _Beside(Console):
    """The standard error: when nobody reads it any more, the command goes on."""

    def on_broken_pipe(self) -> None:
        """Print nothing more."""
        self.quiet = True


def _console(color: str | None, *, stderr: bool) -> Console:
    options: dict[str, Any] = {}
    if color == ALWAYS:
        options = {"force_terminal": True, "no_color": False}
    elif color == NEVER:
        options = {"no_color": True, "force_terminal": False}
    kind = _Beside if stderr else Console
    return kind(stderr=stderr, markup=False, emoji=False, highlight=False, legacy_windows=False, **options)
