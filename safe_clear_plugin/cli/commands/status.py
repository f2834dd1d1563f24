"""The command ``status``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safe_clear_plugin.cli.commands import plans
from safe_clear_plugin.cli.commands.waiting import follow, wait_for_reruns
from safe_clear_plugin.cli.context import Context
from safe_clear_plugin.cli.deadline import Deadline
from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.follow import PERSON, WAITS_FOR, wave_state
from safe_clear_plugin.cli.plan_view import show_problem
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.states import counted_states

Json = Mapping[str, Any]
STATUS_CODES = {
    "ready": ExitCode.CHANGES,
    "applying": ExitCode.CHANGES,
    "waiting": ExitCode.WAITS,
    "stale": ExitCode.REFUSED,
    "expired": ExitCode.REFUSED,
    "declined": ExitCode.REFUSED,
    "stopped": ExitCode.FAILED,
}
"""The exit codes of `status --detailed-exitcode` for a plan that is not done."""
HOW_TO_GO_ON = {
    "ready": "Review it, then apply it: `safe-clear apply {id}`.",
    "waiting": "A second person applies it: `safe-clear apply {id}`.",
    "stopped": "Continue with `safe-clear resume {id}`, or undo it.",
}
"""The next step towards the re-runs of a plan; a plan in another status must be planned again."""


def status(context: Context) -> ExitCode:
    """Say how far a clear, its undo and the re-runs are."""
    plan = plans.named_plan(context)
    if context.given.wait:
        return _wait(context, plan)
    answer = context.client.get(f"/plans/{plan['id']}/progress.json")
    context.screen.json(answer.text)
    _print_status(context, plan, answer.data)
    if not context.given.detailed_exitcode:
        return ExitCode.DONE
    if wave_state(answer.data) == PERSON:
        return ExitCode.WAITS
    return STATUS_CODES.get(plan["status"], ExitCode.DONE)


def _wait(context: Context, plan: Json) -> ExitCode:
    """Wait for the clear and its re-runs.

    :raises CommandError: when there is nothing to wait for
    """
    if plan["status"] == "applied":
        return wait_for_reruns(context, plan, Deadline(context.given.wait_timeout))
    if plan["status"] == "applying":
        return follow(context, plan, context.client.get(f"/plans/{plan['id']}/progress.json"))
    code = ExitCode.FAILED if plan["status"] == "undone" else STATUS_CODES.get(plan["status"], ExitCode.ERROR)
    if code == ExitCode.CHANGES and not context.given.detailed_exitcode:
        code = ExitCode.ERROR
    raise CommandError(
        f"The plan is {plan['status']}, so there are no re-runs to wait for.",
        HOW_TO_GO_ON.get(plan["status"], "Plan again to clear it.").format(id=plan["id"]),
        code,
    )


def _print_status(context: Context, plan: Json, found: Json) -> None:
    screen = context.screen
    shown = "interrupted" if found["interrupted"] else plan["status"]
    screen.line((f"{shown}  ", "bold"), f"{plan['dag_id']}  {plan['id']}")
    screen.line(f"Cleared {found['done']:,} of {count(found['total'], 'task instance')}.", indent=2)
    if state := wave_state(found):
        screen.line(f"It waits for {WAITS_FOR[state]}.", indent=2)
        if state == PERSON:
            screen.note(f"Continue with `safe-clear continue {plan['id']}`, stop it, or undo it.")
    undo = found["undo"]
    if undo["total"]:
        screen.line(f"Undo: {undo['put_back']:,} put back, {undo['stayed']:,} stayed.", indent=2)
    if found["done"] and found["by_state"]:
        states = counted_states(found["by_state"])
        screen.line(f"Now: {states}{'' if found['finished'] else ' (not finished)'}.", indent=2)
    show_problem(screen, plan.get("problem"))
