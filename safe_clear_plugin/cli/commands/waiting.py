"""The texts of a command about a clear that it follows, and about its re-runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safe_clear_plugin.cli.client import Answer
from safe_clear_plugin.cli.context import Context
from safe_clear_plugin.cli.deadline import Deadline
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.follow import PERSON, follow_clear, follow_reruns, show_reruns, wave_state
from safe_clear_plugin.cli.plan_view import show_problem
from safe_clear_plugin.cli.progress import Progress
from safe_clear_plugin.core.formats import count

Json = Mapping[str, Any]
ENDED_OTHERWISE = {"stopped": ExitCode.FAILED, "stale": ExitCode.REFUSED}


def follow(context: Context, plan: Json, answer: Answer) -> ExitCode:
    """Follow a confirmed clear, print its result and, if asked to, wait for the re-runs."""
    screen, deadline = context.screen, Deadline(context.given.wait_timeout)
    try:
        with Progress(screen.progress_console, "Clearing") as progress:
            through_waves = bool(context.given.wait)
            answer = follow_clear(context.client, answer, progress, deadline, through_waves=through_waves)
    except KeyboardInterrupt:
        screen.note(f"The clear goes on by itself. To stop it: safe-clear stop {plan['id']}")
        raise
    done = answer.data
    if done["status"] in ENDED_OTHERWISE:
        return _ended_otherwise(context, answer)
    screen.line(
        ("Cleared ", "bold green"),
        f"{done['done']:,} of {count(done['total'], 'task instance')} in "
        f"{done['dag_runs_done']:,} of {count(done['dag_runs_total'], 'dag run')}.",
    )
    if state := wave_state(done):
        return _waits(context, plan, answer, state)
    if not context.given.wait:
        screen.json(answer.text)
        screen.note(f"To undo it: safe-clear undo {plan['id']}")
        return ExitCode.DONE
    return wait_for_reruns(context, plan, deadline)


def _ended_otherwise(context: Context, answer: Answer) -> ExitCode:
    """Print the reason that stopped a clear, or that made it stale before anything was cleared."""
    found, plan = answer.data, context.plan(answer.data["id"])
    context.screen.json(answer.text)
    context.screen.line(
        ("Stopped. " if found["status"] == "stopped" else "Nothing was cleared. ", "bold red"),
        f"{found['done']:,} of {count(found['total'], 'task instance')} were cleared.",
    )
    show_problem(context.screen, plan.get("problem"))
    if found["status"] == "stopped":
        context.screen.note(f"Continue with `safe-clear resume {plan['id']}`, or undo it.")
    return ENDED_OTHERWISE[found["status"]]


def _waits(context: Context, plan: Json, answer: Answer, state: str) -> ExitCode:
    context.screen.json(answer.text)
    if state == PERSON:
        context.screen.note(f"It waits for a person: continue with `safe-clear continue {plan['id']}`.")
        return ExitCode.WAITS
    context.screen.note(f"It goes on by itself: see `safe-clear status {plan['id']}`.")
    return ExitCode.DONE


def wait_for_reruns(context: Context, plan: Json, deadline: Deadline) -> ExitCode:
    """Wait until the cleared task instances have run again, and say how they ended."""
    screen = context.screen
    with Progress(screen.progress_console, "Running again") as progress:
        found = follow_reruns(context.client, plan, progress, deadline)
    return show_reruns(screen, found)
