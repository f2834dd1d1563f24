"""The commands that begin, continue and stop: ``apply``, ``clear``, ``resume``, ``continue``, ``stop``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from safe_clear_plugin.cli.arguments import WAVES
from safe_clear_plugin.cli.client import Answer
from safe_clear_plugin.cli.commands import plans
from safe_clear_plugin.cli.commands.waiting import follow
from safe_clear_plugin.cli.context import Context, path_part
from safe_clear_plugin.cli.errors import CommandError, LostAnswer
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.follow import PERSON, wave_state
from safe_clear_plugin.cli.questions import confirmation, require_answers
from safe_clear_plugin.core.formats import count

Json = Mapping[str, Any]
NOT_APPLIED = ("ready", "waiting")


def apply(context: Context) -> ExitCode:
    """Clear what a plan shows."""
    require_answers(context.given, context.screen)
    plan = plans.named_plan(context)
    if not context.given.yes:
        plans.print_plan(context, plan)
    return _apply(context, plan)


def clear(context: Context) -> ExitCode:
    """Make a plan, print it, ask, and clear what it shows."""
    require_answers(context.given, context.screen)
    made = plans.make(context)
    if made is None:
        return ExitCode.DONE
    plans.print_plan(context, made.data)
    return _apply(context, made.data)


def _apply(context: Context, plan: Json) -> ExitCode:
    # If sent again after a lost answer, a plan in progress gets the same answer; any other is refused.
    is_open = plan["status"] in NOT_APPLIED
    if is_open and not context.given.yes:
        plans.require_not_refused(plan)
    body = confirmation(context.given, plan, context.screen) if is_open else {}
    return follow(
        context, plan, _confirm(context, plan, {**body, **(_waves(context.given) if is_open else {})})
    )


def _confirm(context: Context, plan: Json, body: Json) -> Answer:
    body = {**body, "fingerprint": plan["fingerprint"]}
    return context.client.post(f"/plans/{plan['id']}/apply", body)


def _waves(given: argparse.Namespace) -> dict[str, Any]:
    """Return the field of a request with the waves of the clear, if they are given."""
    fields = {one.dest: getattr(given, one.dest) for one in WAVES.arguments}
    found = {name: value for name, value in fields.items() if value is not None}
    return {"waves": found} if found else {}


def _reason(given: argparse.Namespace) -> dict[str, Any]:
    """Return the field of a request with the reason, if one is given."""
    return {} if given.reason is None else {"reason": given.reason}


def resume(context: Context) -> ExitCode:
    """Continue a clear that was stopped or interrupted.

    It asks no questions, so it never begins one.
    """
    given, plan = context.given, plans.named_plan(context)
    if plan["status"] in NOT_APPLIED:
        raise CommandError(
            "This plan was not applied yet, so there is nothing to resume. Nothing was cleared.",
            f"Review the plan, then apply it: `safe-clear apply {plan['id']}`.",
            ExitCode.REFUSED,
        )
    body = {"resume": True, "take_over": bool(given.take_over), **_waves(given), **_reason(given)}
    if plan["status"] == "stopped":
        # If the request is sent again after a lost answer, it does not go past a later stop.
        body["finished_at"] = plan["finished_at"]
    if plan["status"] == "applying" and not plan["interrupted"] and not given.take_over:
        # Somebody else's clear that goes on needs no second hand.
        body["resume"] = False
    return follow(context, plan, _confirm(context, plan, body))


def go_on(context: Context) -> ExitCode:
    """Continue a clear that waits for a person between two waves."""
    plan = plans.named_plan(context)
    address = f"/plans/{plan['id']}"
    before = context.client.get(f"{address}/progress.json")
    body = {**_waves(context.given), **_reason(context.given)}
    if context.given.skip_failed:
        body["skip_failed"] = True
    try:
        # Sent twice, it could go on past the next decision, too.
        context.client.post(f"{address}/continue", body, repeatable=False)
    except LostAnswer as lost:
        _require_decided(context, before.data, lost)
    # It need not be the person who applies the plan, so its confirmation is not sent again.
    return follow(context, plan, context.client.get(f"{address}/progress.json"))


def _require_decided(context: Context, before: Json, lost: LostAnswer) -> None:
    """Find out whether a clear went on after an answer was lost.

    :raises LostAnswer: when it waits for a person as it did before
    """
    now = context.client.get(f"/plans/{before['id']}/progress.json").data
    if wave_state(now) == PERSON and _standing(now) == _standing(before):
        raise LostAnswer(
            lost.reason,
            f"It still waits for a person: run `safe-clear continue {before['id']}` again.",
        ) from None


def _standing(found: Json) -> tuple[Any, ...]:
    """Return the values of a clear in waves that change from one decision to the next."""
    waves = found["waves"] or {}
    return found["done"], waves.get("reason"), (waves.get("runs") or {}).get("skipped")


def stop(context: Context) -> ExitCode:
    """Stop a clear or an undo after the current batch."""
    address = f"/plans/{path_part(context.reference().id)}"
    undo = context.client.get(f"{address}/progress.json").data["undo"]
    answer = context.client.post(f"{address}/stop", {})
    context.screen.json(answer.text)
    found = answer.data
    if found["status"] == "stopped" and not undo["under_way"]:
        cleared = f"{found['done']:,} of {count(found['total'], 'task instance')}"
        context.screen.line(f"Stopped. {cleared} were cleared; the rest is not touched.")
        context.screen.note(f"Continue with `safe-clear resume {found['id']}`, or undo it.")
    elif undo["under_way"]:
        _print_stopped_undo(context, address, undo["dag_runs_total"])
    else:
        context.screen.line(f"The plan is {found['status']}, so there was nothing to stop.")
    return ExitCode.DONE


def _print_stopped_undo(context: Context, address: str, asked: int) -> None:
    undo = context.client.get(f"{address}/progress.json").data["undo"]
    undone = f"{undo['dag_runs_done']:,} of {count(asked, 'dag run')}"
    rest = "The others stay cleared." if undo["dag_runs_done"] < asked else "It was complete before."
    context.screen.line(f"The undo was stopped. {undone} were undone. {rest}")
