"""Writes the parts of docs/cli.md that the parser knows: `.venv/bin/python -m scripts.cli_docs`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from safe_clear_plugin.cli import arguments
from safe_clear_plugin.cli.argument_types import Argument, Group
from safe_clear_plugin.cli.command_list import COMMANDS, Command
from safe_clear_plugin.cli.exit_codes import MEANINGS

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
SHARED = {
    "selection": arguments.SELECTION,
    "confirmation": arguments.CONFIRMATION,
    "waves": arguments.WAVES,
    "waiting": arguments.WAIT,
    "connection": arguments.CONNECTION,
    "output": arguments.OUTPUT_STYLE,
}
"""Groups of options that several commands have: each has one table."""


def document(page: str) -> str:
    """Return the page with each part between its two comments written again."""
    parts = {
        "exit codes": "".join(_exit_codes()),
        "commands": "\n".join(map(_command, COMMANDS)),
        "options": "\n".join(_shared()),
    }
    for name, text in parts.items():
        between = re.compile(rf"(<!-- begin of {name}[^>]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not between.search(page):
            raise ValueError(f"docs/cli.md has no place for the {name}")
        page = between.sub(lambda found, text=text: f"{found[1]}\n{text}\n{found[2]}", page)
    return page


def _exit_codes() -> Iterator[str]:
    yield "| code | meaning |\n| --- | --- |\n"
    for code, text in MEANINGS.items():
        yield f"| {code.value} | {text} |\n"


def _command(command: Command) -> str:
    own = [group for group in command.groups if group.title not in SHARED]
    named = [one for group in own for one in group.arguments]
    positional = [one.options["metavar"] for one in named if not one.flags[0].startswith("-")]
    usage = " ".join(["safe-clear", command.name, *positional, "[options]"])
    lines = [f"### {command.name}", "", f"    {usage}", "", command.description, ""]
    lines += [*_table(named), ""] if named else []
    shared = [group.title for group in command.groups if group.title in SHARED]
    titles = [*shared, "connection", "output"]
    lines += ["Also: options for " + ", ".join(f"[{title}](#{title})" for title in titles) + ".", ""]
    lines += [f"    {example}" for example in command.examples]
    return "\n".join(lines) + "\n"


def _shared() -> Iterator[str]:
    for title, group in SHARED.items():
        yield f"### {title.title()}\n"
        yield "\n".join(_table(_arguments(group))) + "\n"


def _arguments(group: Group) -> list[Argument]:
    return list(group.arguments)


def _table(rows: list[Argument]) -> Iterator[str]:
    yield "| option | meaning |"
    yield "| --- | --- |"
    for one in rows:
        yield f"| {_flags(one)} | {_help(one)} |"


def _flags(one: Argument) -> str:
    value = one.options.get("metavar")
    if choices := one.options.get("choices"):
        value = value or "{" + ",".join(map(str, choices)) + "}"
    shown = " ".join(value) if isinstance(value, tuple) else value
    if not one.flags[0].startswith("-"):
        return f"`{shown}`"
    flags = ", ".join(f"`{flag}`" for flag in one.flags)
    no_form = (
        f", `--no-{one.flags[-1][2:]}`" if "BooleanOptionalAction" in str(one.options.get("action")) else ""
    )
    return f"{flags}{no_form}" + (f" `{shown}`" if shown else "")


def _help(one: Argument) -> str:
    return str(one.options["help"]).replace("|", "\\|")


def main() -> None:
    """Write the page."""
    PAGE.write_text(document(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
