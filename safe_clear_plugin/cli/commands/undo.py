"""The command ``undo``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safe_clear_plugin.cli.commands import plans
from safe_clear_plugin.cli.context import Context
from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.follow import follow_undo
from safe_clear_plugin.cli.plan_view import show_problem
from safe_clear_plugin.cli.progress import Progress
from safe_clear_plugin.cli.questions import confirm, require_answers
from safe_clear_plugin.cli.screen import Screen
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.states import state_name

Json = Mapping[str, Any]
LISTED = 20
"""The highest number of staying task instances that are named."""


def undo(context: Context) -> ExitCode:
    """Put back what a plan cleared and what has not started since."""
    given, screen = context.given, context.screen
    if not given.dry_run:
        require_answers(given, screen)
    plan = plans.named_plan(context)
    # Read before the preview, so that runs that another person undoes meanwhile count as undone.
    before = context.client.get(f"/plans/{plan['id']}/progress.json").data["undo"]
    preview = context.client.get(f"/plans/{plan['id']}/undo.json", run_id=given.run_id)
    found = preview.data
    if given.dry_run:
        screen.json(preview.text)
    print_preview(screen, found)
    if problem := found["problem"]:
        raise CommandError(problem["reason"], problem["remedy"], ExitCode.REFUSED)
    if given.dry_run:
        return ExitCode.DONE
    if not given.yes:
        confirm(f"Put back {count(found['put_back'], 'task instance')} of {plan['dag_id']}?", screen)
    return _undo(context, plan, found, before)


def _undo(context: Context, plan: Json, preview: Json, before: Json) -> ExitCode:
    given, screen = context.given, context.screen
    # Refused if the clear has gone on since the preview.
    body: dict[str, Any] = {"cleared_runs": preview["cleared_runs"]}
    if given.run_id:
        body["run_id"] = given.run_id
    if given.reason is not None:
        body["reason"] = given.reason
    try:
        with Progress(screen.progress_console, "Putting back") as progress:
            answer = follow_undo(context.client, plan["id"], body, progress, before)
    except KeyboardInterrupt:
        screen.note(f"The undo goes on by itself. To stop it: safe-clear stop {plan['id']}")
        raise
    screen.json(answer.text)
    done, left = answer.data["undo"], _left(context, answer.data)
    numbers = (
        f"{done['put_back'] - before['put_back']:,} put back, "
        f"{done['stayed'] - before['stayed']:,} stayed as they are."
    )
    if left:
        return _stopped(context, plan, left, numbers)
    screen.line(("Undone. ", "bold green"), numbers)
    return ExitCode.DONE


def _left(context: Context, found: Json) -> int:
    """Return how many of the dag runs to undo are not undone: somebody stopped it, or it failed."""
    if not context.given.run_id:
        return int(found["dag_runs_done"] - found["undo"]["dag_runs_done"])
    now = context.client.get(f"/plans/{found['id']}/undo.json", run_id=context.given.run_id).data
    return 0 if now["problem"] else int(now["dag_runs_total"])


def _stopped(context: Context, plan: Json, left: int, numbers: str) -> ExitCode:
    screen = context.screen
    screen.line(("Stopped. ", "bold red"), numbers)
    problem = (context.plan(plan["id"]).get("problem") or {}).get("undo")
    if problem and not problem.get("earlier"):
        show_problem(screen, {"undo": problem})
    does = "stays" if left == 1 else "stay"
    screen.note(
        f"{count(left, 'dag run')} {does} cleared. Undo the rest with `safe-clear undo {plan['id']}`."
    )
    return ExitCode.FAILED


def print_preview(screen: Screen, found: Json) -> None:
    """Print the task instances that an undo of a plan would put back, and those that stay."""
    if screen.as_json:
        return
    screen.line(
        ("Undo: ", "bold"),
        f"{found['put_back']:,} of {count(found['task_instances'], 'task instance')} in "
        f"{count(found['dag_runs_total'], 'dag run')} can be put back.",
    )
    screen.table(
        [
            (str(one["verdict"]).replace("_", " "), "green" if one["verdict"] == "put_back" else "yellow"),
            (f"{one['count']:,}", ""),
            (f"{state_name(one['now'])} → {state_name(one['before'])}", ""),
        ]
        for one in found["counts"]
    )
    for row in found["stays"][:LISTED]:
        index = f"[{row['map_index']}]" if row["map_index"] >= 0 else ""
        screen.line(f"stays  {row['run_id']}  {row['task_id']}{index}: {row['why']}", indent=2)
    if found["stay"] > min(LISTED, len(found["stays"])):
        left = found["stay"] - min(LISTED, len(found["stays"]))
        screen.line((f"… and {left:,} more that stay", "dim"), indent=2)
