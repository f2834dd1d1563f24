"""The commands that make and show a change set: ``plan-set``, and ``show`` with the id of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safe_clear_plugin.cli import change_set_view, plan_file
from safe_clear_plugin.cli.change_set_request import change_set_request
from safe_clear_plugin.cli.change_set_view import Section
from safe_clear_plugin.cli.client import Answer
from safe_clear_plugin.cli.commands.plans import ROWS, read_rows
from safe_clear_plugin.cli.context import Context
from safe_clear_plugin.cli.errors import CommandError, LostAnswer
from safe_clear_plugin.cli.exit_codes import ExitCode

Json = Mapping[str, Any]


def plan_set(context: Context) -> ExitCode:
    """Make a change set, print it, and write it to a file."""
    given, screen = context.given, context.screen
    try:
        answer = context.client.post(*change_set_request(context), repeatable=False)
    except LostAnswer as lost:
        raise LostAnswer(
            lost.reason,
            "Plan again, with --timeout for more time. Nothing was cleared, and a change set that nobody "
            "applies expires.",
        ) from None
    found = answer.data
    if given.output_file:
        plan_file.write_change_set(given.output_file, context.client.server, found)
    screen.json(answer.text)
    print_set(context, found)
    if is_refused(found):
        screen.note("This change set can't be applied, see above.")
        return ExitCode.REFUSED
    screen.note("To apply it: ", (f"safe-clear apply {given.output_file or found['id']}", "bold"))
    return ExitCode.CHANGES if given.detailed_exitcode else ExitCode.DONE


def is_refused(found: Json) -> bool:
    """Whether nobody can apply the set."""
    return any(one["what"] not in GIVEN for one in found["required"])


GIVEN = ("acknowledge", "reason", "confirm_task_instances", "approval", "waves")
"""The requirements that a person can meet; any other requirement refuses the set."""


def require_not_refused(found: Json) -> None:
    """Refuse a change set that nobody can apply, before anything is asked.

    :raises CommandError: with the reasons
    """
    if is_refused(found):
        refusing = [one for one in found["required"] if one["what"] not in GIVEN]
        raise CommandError(
            "This change set can't be applied. Nothing was cleared.",
            "Change the selection or leave the Dag out, and plan again.",
            ExitCode.REFUSED,
            tuple(f"{one['reason']} {one['remedy']}" for one in refusing),
        )


def show(context: Context, answer: Answer) -> ExitCode:
    """Print a change set."""
    context.screen.json(answer.text)
    print_set(context, answer.data)
    return ExitCode.DONE


def print_set(context: Context, found: Json) -> None:
    """Print a change set, each plan with its first task instances."""
    if context.screen.as_json:
        return
    wanted = ROWS if context.given.rows is None else max(0, context.given.rows)
    sections = []
    for one in found["plans"]:
        plan = context.plan(one["id"])
        rows, runs, total = read_rows(context, plan, wanted)
        sections.append(Section({**plan, "dag_runs": runs}, rows, total))
    change_set_view.show_change_set(context.screen, found, sections)
