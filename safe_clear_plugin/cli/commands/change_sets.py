"""The commands that begin, continue, stop and approve, for the id of a change set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from safe_clear_plugin.cli import change_set_view
from safe_clear_plugin.cli.arguments import WAVES
from safe_clear_plugin.cli.change_set_follow import follow_set, wait_for_set
from safe_clear_plugin.cli.client import Answer
from safe_clear_plugin.cli.commands.change_set_plans import print_set, require_not_refused
from safe_clear_plugin.cli.commands.plans import require_same
from safe_clear_plugin.cli.commands.status import HOW_TO_GO_ON, STATUS_CODES
from safe_clear_plugin.cli.context import Context, path_part
from safe_clear_plugin.cli.deadline import Deadline
from safe_clear_plugin.cli.errors import CommandError, LostAnswer, Refused
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.follow import PERSON, WAITS_FOR, wave_state
from safe_clear_plugin.cli.plan_view import moment
from safe_clear_plugin.cli.questions import require_answers, set_confirmation
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.states import counted_states

Json = Mapping[str, Any]
Run = Callable[[Context], ExitCode]
OfSet = Callable[[Context, Answer], ExitCode]
NOT_APPLIED = ("ready", "waiting")


def either(of_plan: Run, of_set: OfSet) -> Run:
    """Return a command that takes the id of a plan or a change set, or a file of either."""

    def run(context: Context) -> ExitCode:
        reference = context.reference()
        if reference.is_set:
            return of_set(context, read_set(context, reference.id, reference.fingerprint))
        try:
            return of_plan(context)
        except Refused as refused:
            # Each command reads the plan before it does anything.
            if refused.status != 404 or reference.fingerprint:
                raise
            try:
                found = read_set(context, reference.id)
            except Refused as neither:
                raise (refused if neither.status == 404 else neither) from None
        return of_set(context, found)

    return run


def read_set(context: Context, id_: str, fingerprint: str = "") -> Answer:
    """Read a change set.

    :raises CommandError: when it is not the one in the file
    """
    found = context.client.get(f"/change_sets/{path_part(id_)}.json")
    require_same(found.data, fingerprint)
    return found


def apply(context: Context, answer: Answer) -> ExitCode:
    """Clear the task instances of a change set."""
    given, found = context.given, answer.data
    require_answers(given, context.screen)
    body: dict[str, Any] = {"fingerprint": found["fingerprint"]}
    # A request can be sent again after a lost answer: a set in progress gets the same answer, and the
    # server refuses any other.
    if found["status"] in NOT_APPLIED:
        if not given.yes:
            print_set(context, found)
            require_not_refused(found)
        body |= {**set_confirmation(given, found, context.screen), **_waves(context)}
    context.client.post(f"/change_sets/{found['id']}/apply", body)
    return follow_set(context, found["id"], Deadline(given.wait_timeout))


def _waves(context: Context) -> dict[str, Any]:
    """Return the field of a request with the waves of the clear, if they are given."""
    fields = {one.dest: getattr(context.given, one.dest) for one in WAVES.arguments}
    found = {name: value for name, value in fields.items() if value is not None}
    return {"waves": found} if found else {}


def resume(context: Context, answer: Answer) -> ExitCode:
    """Go on with a change set that stopped."""
    given, found = context.given, answer.data
    body: dict[str, Any] = {} if given.reason is None else {"reason": given.reason}
    if given.skip_stopped:
        body["skip_stopped"] = True
    body |= _waves(context)
    address = f"/change_sets/{found['id']}"
    before = context.client.get(f"{address}/progress.json").data
    try:
        # A request that is sent twice could go past a later stop.
        context.client.post(f"{address}/continue", body, repeatable=False)
    except LostAnswer as lost:
        now = context.client.get(f"{address}/progress.json").data
        if now["status"] == "stopped" and now["cleared_at"] == before["cleared_at"]:
            raise LostAnswer(
                lost.reason, f"It is still stopped: run `safe-clear resume {found['id']}` again."
            ) from None
    return follow_set(context, found["id"], Deadline(given.wait_timeout))


def go_on(context: Context, answer: Answer) -> ExitCode:
    """Go on with a change set whose waves wait for a person."""
    given, address = context.given, f"/change_sets/{answer.data['id']}"
    body: dict[str, Any] = {} if given.reason is None else {"reason": given.reason}
    if given.skip_failed:
        body["skip_failed"] = True
    body |= _waves(context)
    before = context.client.get(f"{address}/progress.json").data
    if wave_state(before) != PERSON:
        raise CommandError(
            "The change set does not wait for a person.",
            f"`safe-clear status {answer.data['id']}` shows its state.",
            ExitCode.REFUSED,
        )
    try:
        # A request that is sent twice could also go past the next decision.
        context.client.post(f"{address}/continue", body, repeatable=False)
    except LostAnswer as lost:
        now = context.client.get(f"{address}/progress.json").data
        if wave_state(now) == PERSON and now["done"] == before["done"]:
            raise LostAnswer(
                lost.reason,
                f"It still waits for a person: run `safe-clear continue {answer.data['id']}` again.",
            ) from None
    return follow_set(context, answer.data["id"], Deadline(given.wait_timeout))


def status(context: Context, answer: Answer) -> ExitCode:
    """Say how far a change set is, Dag by Dag."""
    found, given, screen = answer.data, context.given, context.screen
    if given.wait:
        return _wait(context, found)
    progress = context.client.get(f"/change_sets/{found['id']}/progress.json")
    screen.json(progress.text)
    shown = "interrupted" if progress.data["interrupted"] else found["status"]
    screen.line((f"{shown}  ", "bold"), f"change set of {count(len(found['plans']), 'Dag')}  {found['id']}")
    total = count(progress.data["total"], "task instance")
    screen.line(f"Cleared {progress.data['done']:,} of {total}.", indent=2)
    change_set_view.show_turns(screen, progress.data)
    if state := wave_state(progress.data):
        screen.line(f"It waits for {WAITS_FOR[state]}.", indent=2)
    if progress.data["done"] and progress.data["by_state"]:
        states = counted_states(progress.data["by_state"])
        screen.line(f"Now: {states}{'' if progress.data['finished'] else ' (not finished)'}.", indent=2)
    change_set_view.show_problem(screen, found)
    if not given.detailed_exitcode:
        return ExitCode.DONE
    if wave_state(progress.data) == PERSON:
        return ExitCode.WAITS
    return STATUS_CODES.get(found["status"], ExitCode.DONE)


def _wait(context: Context, found: Json) -> ExitCode:
    deadline = Deadline(context.given.wait_timeout)
    if found["status"] == "applied":
        return wait_for_set(context, found["id"], deadline)
    if found["status"] == "applying":
        return follow_set(context, found["id"], deadline)
    code = STATUS_CODES.get(found["status"], ExitCode.FAILED)
    raise CommandError(
        f"The change set is {found['status']}, so there are no re-runs to wait for.",
        HOW_TO_GO_ON.get(found["status"], "Plan again to clear it.").format(id=found["id"]),
        ExitCode.ERROR if code == ExitCode.CHANGES and not context.given.detailed_exitcode else code,
    )


def stop(context: Context, answer: Answer) -> ExitCode:
    """Stop a change set after the current batch."""
    before, screen = answer.data, context.screen
    after = context.client.post(f"/change_sets/{before['id']}/stop", {})
    screen.json(after.text)
    found = after.data
    if before["status"] == "applying" and found["status"] == "stopped":
        cleared = f"{found['cleared']:,} of {count(found['task_instances'], 'task instance')}"
        screen.line(f"Stopped. {cleared} were cleared; the rest is not touched.")
        screen.note(f"Continue with `safe-clear resume {found['id']}`, or undo it.")
    elif before["under_undo"]:
        screen.line(f"The undo was stopped. {count(found['undone_runs'], 'dag run')} were undone.")
    else:
        screen.line(f"The change set is {found['status']}, so there was nothing to stop.")
    return ExitCode.DONE


def ask(context: Context, answer: Answer) -> ExitCode:
    """Request approval by a second person."""
    found = _with_reason(context, answer, "ask")
    context.screen.line(f"Approval requested, until {moment(found['expires_at'])}.")
    context.screen.note(f"The second person applies it: safe-clear apply {found['id']}")
    return ExitCode.WAITS


def decline(context: Context, answer: Answer) -> ExitCode:
    """Decline a change set that waits for approval, or withdraw it."""
    _with_reason(context, answer, "decline")
    context.screen.line("Declined. Nothing was cleared.")
    return ExitCode.DONE


def _with_reason(context: Context, answer: Answer, step: str) -> Json:
    body = {"reason": context.given.reason} if context.given.reason is not None else {}
    # If the same person sends either request again, it changes nothing.
    found = context.client.post(f"/change_sets/{answer.data['id']}/{step}", body)
    context.screen.json(found.text)
    return found.data
