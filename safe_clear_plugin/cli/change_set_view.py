"""A change set as a terminal shows it: a section for each Dag, then the facts about the whole set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.cli import plan_view
from safe_clear_plugin.cli.plan_view import STATUS_STYLES, moment
from safe_clear_plugin.cli.screen import Screen
from safe_clear_plugin.core.formats import count

Json = Mapping[str, Any]
TURNS = {
    "waiting": "waits for its turn",
    "clearing": "clearing",
    "cleared": "cleared",
    "stopped": "stopped",
    "not_cleared": "not cleared",
    "undo_waiting": "waits to be undone",
    "undoing": "undoing",
    "undone": "undone",
}
"""The words for the turn of a plan, by the server's code."""


@dataclass(frozen=True)
class Section:
    """A plan of the set, with the first of its ``total`` task instances."""

    plan: Json
    rows: Sequence[Json]
    total: int


def show_change_set(screen: Screen, found: Json, sections: Sequence[Section]) -> None:
    """Print a change set, Dag by Dag in the order in which they are cleared."""
    status = str(found["status"])
    until = f" until {moment(found['expires_at'])}" if status in ("ready", "waiting") else ""
    screen.line(
        ("Change set ", "bold"), (str(found["id"]), "bold"), f"  {count(len(found['plans']), 'Dag')}  ",
        (status, STATUS_STYLES.get(status, "")), until,
    )  # fmt: skip
    for number, section in enumerate(sections, start=1):
        screen.line()
        screen.line((f"── {number} of {len(sections)}: {section.plan['dag_id']} ──", "bold"))
        plan_view.show_plan(screen, section.plan, section.rows, section.total)
    screen.line()
    text = f"{count(found['task_instances'], 'task instance')} in {count(found['dag_runs'], 'dag run')}"
    screen.line(("Together ", "bold"), (f"{text} of {count(len(found['plans']), 'Dag')}", "bold"))
    for dag in found["left_out"]:
        screen.line(("left out", "dim"), f"  {dag['dag_id']}: {dag['reason']}")
    show_problem(screen, found)


def show_problem(screen: Screen, found: Json) -> None:
    """Print which Dag stopped the others, and why."""
    if found["problem"]:
        screen.line()
        screen.line((f"{found['stopped_by']}:", "bold red"))
        plan_view.show_problem(screen, found["problem"])


def show_turns(screen: Screen, progress: Json) -> None:
    """Print how far each Dag is."""
    screen.table(
        (
            [
                (str(one["dag_id"]), ""),
                (TURNS.get(one["turn"], str(one["turn"])), STYLES.get(one["turn"], "")),
                (f"{one['done']:,} of {one['total']:,} cleared", ""),
                (f"{one['put_back']:,} put back" if one["put_back"] or one["stayed"] else "", ""),
            ]
            for one in progress["plans"]
        ),
        indent=2,
    )


STYLES = {"cleared": "green", "stopped": "red", "clearing": "yellow", "undoing": "yellow", "undone": "cyan"}
