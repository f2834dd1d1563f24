# PYTHON_ARGCOMPLETE_OK
"""The entry point: parses, runs a command, and turns what went wrong into a sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.parser import build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``safe-clear`` and return its exit code."""
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete  # noqa: PLC0415

        argcomplete.autocomplete(parser)
    return run(parser.parse_args(arguments))


def run(given: argparse.Namespace, default_server: str | None = None) -> int:
    """Run the command of a parsed command line, and return its exit code."""
    # Only now, so that help and completion do not wait for them.
    from safe_clear_plugin.cli.commands import RUN  # noqa: PLC0415
    from safe_clear_plugin.cli.context import Context, open_client  # noqa: PLC0415
    from safe_clear_plugin.cli.errors import CommandError  # noqa: PLC0415
    from safe_clear_plugin.cli.screen import Screen  # noqa: PLC0415

    screen = Screen(given.color, as_json=bool(given.json))
    client = None
    try:
        client = open_client(given, default_server)
        code = RUN[given.command](Context(given, screen, client))
        sys.stdout.flush()
    except CommandError as error:
        screen.error(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        screen.note("Interrupted.")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of the output has ended, as `head` does; Python must not fail at its last flush, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.ERROR)
    finally:
        if client:
            client.close()
    return int(code)
