"""The commands of ``airflow safe-clear``: those of ``safe-clear``, and the driver.

Airflow reads this at every start of its command line, so what a command needs is imported when it runs.
"""

from __future__ import annotations

import argparse
from functools import partial

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command
from airflow.configuration import conf

from safe_clear_plugin.cli.command_list import COMMANDS, Command
from safe_clear_plugin.cli.parser import epilog

GROUP = "safe-clear"


def get_commands() -> list[CLICommand]:
    """Return the group of commands."""
    return [
        GroupCommand(
            name=GROUP,
            help="Preview, apply and undo clears with Safe Clear",
            subcommands=[*map(_of_the_api, COMMANDS), _driver()],
        )
    ]


def _of_the_api(command: Command) -> CLICommand:
    """Return a command that speaks to the api-server as one of Airflow's."""
    arguments = [one for group in command.all_groups for one in group.arguments]
    return ActionCommand(
        name=command.name,
        help=command.help,
        description=command.description,
        epilog=epilog(command).replace("safe-clear ", f"airflow {GROUP} "),
        func=partial(_run, command.name),
        args=tuple(Arg(flags=one.flags, **one.options) for one in arguments),
    )


def _run(name: str, given: argparse.Namespace) -> None:
    from safe_clear_plugin.cli.main import run  # noqa: PLC0415

    given.command = name
    # Airflow's own entry point drops what a command returns.
    raise SystemExit(run(given, conf.get("api", "base_url", fallback="") or None))


def _driver() -> CLICommand:
    return ActionCommand(
        name="driver",
        help="Carry out confirmed clears and undos",
        description=(
            "Carry out confirmed clears and undos until it is told to end (SIGTERM, Ctrl-C). "
            "Needed where [safe_clear] driver is `none`. Several can run; each plan has one at a "
            "time. `airflow jobs check --local` says whether it is alive."
        ),
        func=lazy_load_command("safe_clear_plugin.commands.driver"),
        args=(),
    )
