"""The questions to a person before a plan is applied: its requirements, and the confirmation."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.refusals import APPROVAL
from safe_clear_plugin.cli.screen import Screen

Json = Mapping[str, Any]
YES = "yes"
TYPED = ("reason", "confirm_dag_id", "confirm_task_instances")
"""Requirements that a person types in."""


def confirmation(given: argparse.Namespace, plan: Json, screen: Screen) -> dict[str, Any]:
    """Return the confirmation of a plan to send: from the options and the person's answers.

    :raises CommandError: when the person says no
    """
    body = _given(given, "reason", "confirm_dag_id", "acknowledge")
    if given.yes:
        return body
    _ask_for_required(plan, body, screen)
    confirm(f"Clear {plan['counts']['task_instances']:,} task instances of {plan['dag_id']}?", screen)
    return body


def set_confirmation(given: argparse.Namespace, found: Json, screen: Screen) -> dict[str, Any]:
    """Return the confirmation of a change set to send: from the options and the person's answers.

    :raises CommandError: when the person says no
    """
    body = {"acknowledge": _acknowledged(given, found)} | _given(given, "reason", "confirm_task_instances")
    if given.yes:
        return body
    _ask_for_required(found, body, screen)
    dags = f"{len(found['plans']):,} Dags"
    confirm(f"Clear {found['task_instances']:,} task instances in {dags}?", screen)
    return body


def _acknowledged(given: argparse.Namespace, found: Json) -> list[list[str]]:
    """Return the findings that are given: ``DAG_ID:CODE``, or ``CODE`` for every Dag that has the finding."""
    asked = [[one["dag_id"], one["code"]] for one in found["findings"] if one["level"] == "acknowledge"]
    chosen: list[list[str]] = []
    for text in given.acknowledge or ():
        dag_id, colon, code = text.rpartition(":")
        chosen += [[dag_id, code]] if colon else [one for one in asked if one[1] == text]
    return chosen


def _given(given: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(given, name) for name in names if getattr(given, name) is not None}


def _ask_for_required(found: Json, body: dict[str, Any], screen: Screen) -> None:
    """Ask for all that a plan or a change set requires, unless a second person is to confirm it."""
    if any(one["what"] == APPROVAL for one in found["required"]):
        return
    for one in found["required"]:
        _answer(one, found, body, screen)


def _answer(one: Json, found: Json, body: dict[str, Any], screen: Screen) -> None:
    what = one["what"]
    if what == "acknowledge":
        value, acknowledged = one["value"], body.get("acknowledge", ())
        if value in acknowledged:
            return
        confirm(f"{_title(value, found)}. Have you read this finding?", screen)
        body["acknowledge"] = [*acknowledged, value]
    elif what in TYPED and what not in body:
        answer = screen.ask(f"{one['reason']} {one['remedy']} ")
        if not answer:
            raise _cancelled()
        body[what] = int(answer) if what == "confirm_task_instances" and answer.isdecimal() else answer


def _title(value: str | list[str], found: Json) -> str:
    """Return the title of a finding: a plan's by its code, a change set's by its Dag and code."""
    if isinstance(value, str):
        return next((f["title"] for f in found["findings"] if f["code"] == value), value)
    dag_id, code = value
    titles = (f["title"] for f in found["findings"] if (f["dag_id"], f["code"]) == (dag_id, code))
    return f"{dag_id}: {next(titles, code)}"


def confirm(question: str, screen: Screen) -> None:
    """Ask a question that only ``yes`` answers.

    :raises CommandError: when the answer is another one
    """
    if screen.ask(f"{question} Type {YES}: ") != YES:
        raise _cancelled()


def require_answers(given: argparse.Namespace, screen: Screen) -> None:
    """Make sure that nothing is to be asked, or that there is a person to ask.

    :raises CommandError: when there is nobody
    """
    if not given.yes and not screen.can_ask:
        raise CommandError(
            "There is no terminal to ask for a confirmation. Nothing was done.",
            "Give --yes, with what the plan requires as options.",
        )


def _cancelled() -> CommandError:
    return CommandError("Cancelled. Nothing was done.", "")
