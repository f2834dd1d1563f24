"""The parser of ``safe-clear``, made from the declared commands."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from safe_clear_plugin import __version__
from safe_clear_plugin.cli.command_list import COMMANDS, Command
from safe_clear_plugin.cli.exit_codes import MEANINGS, ExitCode

DESCRIPTION = """\
See exactly what a clear of Airflow task instances will do, do exactly that or nothing, and undo it.

safe-clear talks to Airflow's api-server, with your permissions. It needs no database."""

FIRST_STEPS = """\
first steps:
  export SAFE_CLEAR_SERVER=https://airflow.example.com
  export SAFE_CLEAR_TOKEN=…                  # or: --user, --token-file
  safe-clear plan sales_etl -t '^load' -s 2026-11-18 -e 2026-11-20 -o plan.json
  safe-clear apply plan.json --wait
  safe-clear undo plan.json
"""


class Parser(argparse.ArgumentParser):
    """A parser that exits with 1 for wrong usage: 2 means that a plan has something to clear."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong with the arguments."""
        self.print_usage(sys.stderr)
        self.exit(ExitCode.ERROR, f"{self.prog}: {message}\nSee {self.prog} --help.\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; its namespace has the name of the command as ``command``."""
    parser = Parser(
        prog="safe-clear",
        description=DESCRIPTION,
        epilog=f"{FIRST_STEPS}\n{_exit_codes()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"safe-clear {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        _add(command, commands)
    return parser


def _add(command: Command, commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        command.name,
        help=command.help,
        description=command.description,
        epilog=epilog(command),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # A shortened filter could be mistaken for another one.
        allow_abbrev=False,
    )
    for group in command.all_groups:
        target = parser.add_argument_group(group.title) if group.title else parser
        for one in group.arguments:
            target.add_argument(*one.flags, **one.options)


def epilog(command: Command) -> str:
    """Return the examples of a command."""
    return "examples:\n" + "\n".join(f"  {example}" for example in command.examples)


def _exit_codes() -> str:
    lines = [f"  {code.value:>3}  {text.replace('`', '')}" for code, text in MEANINGS.items()]
    return "exit codes:\n" + "\n".join(lines)
