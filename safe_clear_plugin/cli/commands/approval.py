"""The commands about approval by a second person: ``ask``, ``decline``."""

from __future__ import annotations

from safe_clear_plugin.cli.client import Answer
from safe_clear_plugin.cli.commands import plans
from safe_clear_plugin.cli.context import Context, path_part
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.plan_view import moment


def ask(context: Context) -> ExitCode:
    """Request approval by a second person."""
    found = _send(context, "ask").data
    context.screen.line(f"Approval requested, until {moment(found['expires_at'])}.")
    context.screen.note(f"The second person applies it: safe-clear apply {found['id']}")
    return ExitCode.WAITS


def decline(context: Context) -> ExitCode:
    """Decline a plan that waits for approval, or withdraw it."""
    _send(context, "decline")
    context.screen.line("Declined. Nothing was cleared.")
    return ExitCode.DONE


def _send(context: Context, step: str) -> Answer:
    reference = context.reference()
    id_ = path_part(reference.id)
    plans.require_same(context.plan(id_), reference.fingerprint)
    body = {"reason": context.given.reason} if context.given.reason is not None else {}
    # Sent again by the same person, either changes nothing.
    answer = context.client.post(f"/plans/{id_}/{step}", body)
    context.screen.json(answer.text)
    return answer
