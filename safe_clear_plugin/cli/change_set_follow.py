"""Follows a change set that is cleared or undone, and its re-runs, until they are done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from safe_clear_plugin.cli import change_set_view
from safe_clear_plugin.cli.client import Answer
from safe_clear_plugin.cli.context import Context
from safe_clear_plugin.cli.deadline import Deadline
from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.follow import (
    LONGEST_POLL,
    PERSON,
    POLL,
    describe,
    judge,
    only_stuck,
    show_reruns,
    unfinished,
    wave_state,
)
from safe_clear_plugin.cli.progress import Progress
from safe_clear_plugin.core.formats import count

Json = Mapping[str, Any]


def follow_set(context: Context, set_id: str, deadline: Deadline) -> ExitCode:
    """Follow the clear of a set, print its result and, if asked to, wait for the re-runs."""
    screen = context.screen
    try:
        with Progress(screen.progress_console, "Clearing") as progress:
            answer = follow(
                context,
                set_id,
                progress,
                deadline,
                lambda found: (found["done"], found["total"]),
                through_waves=bool(context.given.wait),
            )
    except KeyboardInterrupt:
        screen.note(f"The clear goes on by itself. To stop it: safe-clear stop {set_id}")
        raise
    done = answer.data
    dags = count(len(done["plans"]), "Dag")
    cleared = f"{done['done']:,} of {count(done['total'], 'task instance')} in {dags}"
    if done["status"] == "stopped":
        screen.json(answer.text)
        screen.line(("Stopped. ", "bold red"), f"{cleared} were cleared.")
        change_set_view.show_turns(screen, done)
        change_set_view.show_problem(screen, context.client.get(f"/change_sets/{set_id}.json").data)
        screen.note(f"Continue with `safe-clear resume {set_id}`, or undo it.")
        return ExitCode.FAILED
    screen.line(("Cleared ", "bold green"), f"{cleared}.")
    change_set_view.show_turns(screen, done)
    if state := wave_state(done):
        screen.json(answer.text)
        if state == PERSON:
            screen.note(f"It waits for a person: continue with `safe-clear continue {set_id}`.")
            return ExitCode.WAITS
        screen.note(f"It goes on by itself: see `safe-clear status {set_id}`.")
        return ExitCode.DONE
    if context.given.wait:
        return wait_for_set(context, set_id, deadline)
    screen.json(answer.text)
    screen.note(f"To undo it: safe-clear undo {set_id}")
    return ExitCode.DONE


def follow(
    context: Context,
    set_id: str,
    progress: Progress,
    deadline: Deadline,
    counts: Callable[[Json], tuple[int, int]],
    *,
    through_waves: bool = True,
    of_undo: bool = False,
) -> Answer:
    """Read the progress of a set until nothing of it is in progress, or it waits for a person.

    A set that waits for runs or for a time is followed further only with ``through_waves``. With ``of_undo``,
    it is followed until no undo is in progress, even if its clear waits.

    :raises CommandError: when no driver works on it, or it is not done in time
    """
    while True:
        answer = context.client.get(f"/change_sets/{set_id}/progress.json")
        found = answer.data
        progress.show(*counts(found), _turn(found))
        if of_undo and not found["undo"]["under_way"]:
            return answer
        state = "" if of_undo else wave_state(found)
        if not found["retry_after"] or state == PERSON or (state and not through_waves):
            return answer
        if found["interrupted"]:
            raise CommandError(
                "The change set is confirmed, but no driver has worked on it for a minute.",
                "Start an api-server, or `airflow safe-clear driver`: it then goes on by itself. "
                f"Follow it with `safe-clear status {set_id}`.",
                ExitCode.FAILED,
            )
        deadline.sleep(min(float(found["retry_after"]), LONGEST_POLL), "The change set was", set_id)


def _turn(found: Json) -> str:
    under_way = ("clearing", "undoing")
    return next((str(one["dag_id"]) for one in found["plans"] if one["turn"] in under_way), "")


def wait_for_set(context: Context, set_id: str, deadline: Deadline) -> ExitCode:
    """Wait until the cleared task instances have run again, as far as the plans foresee it. Print the result.

    :raises CommandError: when the re-runs take too long, somebody undoes the clear, or nobody can count them
    """
    screen, poll = context.screen, POLL
    foreseen = _outcomes(context.client.get(f"/change_sets/{set_id}.json").data)
    with Progress(screen.progress_console, "Running again") as progress:
        while True:
            answer = context.client.get(f"/change_sets/{set_id}/progress.json")
            found = answer.data
            if found["undo"]["dag_runs_total"]:
                raise CommandError(
                    "The clear was undone, or is being undone: not all of it runs again.",
                    f"`safe-clear status {set_id}` says how far the undo is.",
                    ExitCode.FAILED,
                )
            if found["by_state"] is not None:
                states = dict(found["by_state"])
                left = unfinished(states)
                total = sum(states.values())
                progress.show(total - sum(left.values()), total, describe(states))
                if found["finished"] or only_stuck(foreseen, left):
                    return show_reruns(screen, judge(foreseen, answer, states, sum(left.values())))
            elif not found["retry_after"]:
                raise CommandError(
                    "The server can't say how the task instances run again.",
                    f"`safe-clear status {set_id}` says what was cleared.",
                    ExitCode.FAILED,
                )
            deadline.sleep(poll, "The re-runs were", set_id)
            poll = min(poll * 1.2, LONGEST_POLL)


def _outcomes(found: Json) -> Json:
    """Return the outcomes of all completely cleared plans of a set together, in the form of one plan."""
    total: Counter[str] = Counter()
    for plan in found["plans"]:
        if plan["status"] == "applied":
            total.update(plan["outcomes"])
    return {"outcomes": total}
