"""Messages of a webhook in words: for a chat, and why one could not be delivered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safe_clear_plugin.core.formats import MANY, count
from safe_clear_plugin.core.hidden_text import is_hidden
from safe_clear_plugin.core.plan import ShownStatus
from safe_clear_plugin.core.waves import WaveReason
from safe_clear_plugin.core.webhook import Counts, DeliveryProblem, Event, Message

LONGEST = 500
"""Characters of a text that a person wrote."""

EVENTS: Mapping[Event, str] = {
    Event.APPROVAL_REQUESTED: "Approval requested",
    Event.DECLINED: "Declined",
    Event.STARTED: "Clear started",
    Event.RESUMED: "Clear resumed",
    Event.WAITING: "Clear waits for a person",
    Event.STOPPED: "Clear stopped",
    Event.DONE: "Clear done",
    Event.UNDONE: "Clear undone",
    Event.UNDO_STOPPED: "Undo stopped",
}
WAITS: Mapping[WaveReason, str] = {
    WaveReason.FIRST_DONE: "The first runs have succeeded.",
    WaveReason.FIRST_FAILED: "Some of the first runs failed.",
    WaveReason.FIRST_INCONCLUSIVE: "Some of the first runs wait for what will not come by itself.",
    WaveReason.TOO_MANY_FAILED: "Too many runs failed.",
}
PROBLEMS: Mapping[DeliveryProblem, str] = {
    DeliveryProblem.OPTION: "an option can't be used; the log names it",
    DeliveryProblem.UNREACHABLE: "{host} can't be reached",
    DeliveryProblem.CERTIFICATE: "the certificate of {host} is not valid",
    DeliveryProblem.TIMEOUT: "{host} did not answer in time",
    DeliveryProblem.CLOSED: "{host} closed the connection without an answer",
    DeliveryProblem.REDIRECT: "{host} redirects, which Safe Clear does not follow",
    DeliveryProblem.STATUS: "{host} answered {status}",
    DeliveryProblem.ERROR: "something went wrong inside Safe Clear; the log names it",
    DeliveryProblem.EXPIRED: "no driver sent it within a day",
}


def problem_text(problem: DeliveryProblem, http_status: int | None, host: str) -> str:
    """Say why a message was not delivered."""
    return PROBLEMS[problem].format(host=host or "the server", status=http_status)


def slack_body(message: Message) -> dict[str, Any]:
    """Return a message as Slack's incoming webhooks take it.

    Nothing in it is markup: not a channel to be called, a person to be named, nor a link in disguise.
    """
    return {
        "text": "\n".join(_escaped(line) for line in lines(message)),
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def lines(message: Message) -> list[str]:
    """Return a message as lines of plain text."""
    found = [f"{_title(message)}: {shown(_dags(message))}", _extent(message.event, message.counts)]
    if message.stop_reason:
        stop = message.stop_reason
        found.append(shown(f"{stop.reason} {stop.remedy}") or f"Stopped: {stop.kind}.")
    if message.waits_because:
        found.append(WAITS[message.waits_because])
    found.append(shown(message.sentence))
    if message.reason:
        found.append(f"Reason: {shown(message.reason)}")
    if message.url:
        found.append(message.url)
    return found


def _dags(message: Message) -> str:
    """Name the DAG, or the first of a change set."""
    if message.change_set_id is None:
        return message.dag_id
    more = len(message.dag_ids) - MANY
    named = ", ".join(message.dag_ids[:MANY])
    return f"{named} and {count(more, 'more Dag')}" if more > 0 else named


def shown(text: str) -> str:
    """Return a text on one line, without what does not show, and not longer than a person reads."""
    kept = "".join(" " if char.isspace() else char for char in text if char.isspace() or not is_hidden(char))
    line = " ".join(kept.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _title(message: Message) -> str:
    if message.status == ShownStatus.STALE:
        return "Out of date, not cleared"
    by = f" by {shown(message.by)}" if message.by else ""
    return EVENTS[message.event] + by


def _extent(event: Event, counts: Counts) -> str:
    runs = count(counts.dag_runs, "dag run")
    if event in (Event.UNDONE, Event.UNDO_STOPPED):
        rest = f", {counts.stayed:,} could not be" if counts.stayed else ""
        return f"{counts.put_back:,} of {count(counts.cleared, 'task instance')} restored{rest}."
    if event in (Event.APPROVAL_REQUESTED, Event.DECLINED, Event.STARTED):
        return f"{count(counts.task_instances, 'task instance')} in {runs}."
    of = count(counts.task_instances, "task instance")
    return f"{counts.cleared:,} of {of} cleared, in {counts.cleared_dag_runs:,} of {runs}."


def _escaped(text: str) -> str:
    """Escape the three characters that Slack's markup is made of, as its documentation says."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
