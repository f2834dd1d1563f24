"""The command ``undo`` with the id of a change set: whole, by Dag, or some runs of one Dag."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from safe_clear_plugin.cli.change_set_follow import follow
from safe_clear_plugin.cli.client import Answer
from safe_clear_plugin.cli.commands.undo import print_preview
from safe_clear_plugin.cli.context import Context
from safe_clear_plugin.cli.deadline import Deadline
from safe_clear_plugin.cli.errors import CommandError, LostAnswer
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.progress import Progress
from safe_clear_plugin.cli.questions import confirm, require_answers
from safe_clear_plugin.core.formats import count

Json = Mapping[str, Any]


def undo(context: Context, answer: Answer) -> ExitCode:
    """Put back the cleared task instances of a change set that have not started since, the last Dag first."""
    given, screen, found = context.given, context.screen, answer.data
    if not given.dry_run:
        require_answers(given, screen)
    plans = _chosen(context, found)
    # Read before the preview, so that runs that another person undoes meanwhile count as undone.
    before = context.client.get(f"/change_sets/{found['id']}/progress.json").data["undo"]
    preview = _preview(context, found["id"], plans)
    previews = preview["plans"]
    if given.dry_run:
        screen.json(json.dumps(preview))
    possible = [one for one in previews if not one["problem"]]
    if not possible:
        problem = previews[0]["problem"] if previews else NOTHING_CLEARED
        raise CommandError(problem["reason"], problem["remedy"], ExitCode.REFUSED)
    if problem := preview.get("problem"):
        raise CommandError(problem["reason"], problem["remedy"], ExitCode.REFUSED)
    if given.dry_run:
        return ExitCode.DONE
    if not given.yes:
        dags = count(len(possible), "Dag")
        confirm(f"Put back {count(preview['put_back'], 'task instance')} in {dags}?", screen)
    return _undo(context, found["id"], _body(context, plans), before)


NOTHING_CLEARED = {"reason": "Nothing of this change set is cleared and not undone.", "remedy": ""}


def _chosen(context: Context, found: Json) -> Sequence[Json]:
    """Return the plans to undo, the last first.

    :raises CommandError: when options contradict each other, or do not fit the set
    """
    given = context.given
    wanted = given.dag_id or []
    known = [one["dag_id"] for one in found["plans"]]
    if unknown := [dag_id for dag_id in wanted if dag_id not in known]:
        raise CommandError(
            f"The change set has no plan of {', '.join(unknown)}.", f"Its Dags are: {', '.join(known)}."
        )
    if given.run_id and len(set(wanted)) != 1:
        raise CommandError(
            "--run-id is for runs of one Dag.", "Name the Dag of the change set with --dag-id."
        )
    plans = [one for one in reversed(found["plans"]) if not wanted or one["dag_id"] in wanted]
    return [one for one in plans if wanted or one["cleared_runs"] > one["undone_runs"]]


NUMBERS = ("task_instances", "put_back", "stay", "dag_runs_total", "whole_dag_runs")
"""The numbers of a preview, for each plan and for all."""


def _preview(context: Context, set_id: str, plans: Sequence[Json]) -> Json:
    """Print the preview of the undo, plan by plan, and return it."""
    found: Json
    if context.given.run_id:
        found = _together(set_id, [_preview_of_plan(context, one["id"], one["dag_id"]) for one in plans])
    else:
        found = context.client.get(f"/change_sets/{set_id}/undo.json", dag_id=context.given.dag_id).data
    if not found.get("complete", True):
        # The server had no time for all plans in one request, so each of the others gets its own request.
        counted = [
            one if one["counted"] else _preview_of_plan(context, one["plan_id"], one["dag_id"])
            for one in found["plans"]
        ]
        found = {**found, **_together(set_id, counted), "complete": True}
    for one in found["plans"]:
        context.screen.line((f"── {one['dag_id']} ──", "bold"))
        print_preview(context.screen, one)
        if one["problem"]:
            context.screen.line(f"{one['problem']['reason']} {one['problem']['remedy']}", indent=2)
    return found


def _preview_of_plan(context: Context, plan_id: str, dag_id: str) -> Json:
    found = context.client.get(f"/plans/{plan_id}/undo.json", run_id=context.given.run_id).data
    return {"dag_id": dag_id, "plan_id": plan_id, "counted": True, **found}


def _together(set_id: str, plans: Sequence[Json]) -> dict[str, Any]:
    return {"id": set_id, **{name: sum(one[name] for one in plans) for name in NUMBERS}, "plans": plans}


def _body(context: Context, plans: Sequence[Json]) -> dict[str, Any]:
    given = context.given
    # Read before the previews: runs that are cleared after this have not been shown, and are refused.
    body: dict[str, Any] = {"cleared_runs": {one["dag_id"]: one["cleared_runs"] for one in plans}}
    if given.reason is not None:
        body["reason"] = given.reason
    if given.run_id:
        body["runs"] = {given.dag_id[0]: given.run_id}
    elif given.dag_id:
        body["dag_ids"] = given.dag_id
    return body


def _undo(context: Context, set_id: str, body: Json, before: Json) -> ExitCode:
    screen, address = context.screen, f"/change_sets/{set_id}"
    try:
        context.client.post(f"{address}/undo", body, repeatable=False)
    except LostAnswer as lost:
        now = context.client.get(f"{address}/progress.json").data["undo"]
        if (
            now["dag_runs_total"] == before["dag_runs_total"]
            and now["dag_runs_done"] == before["dag_runs_done"]
        ):
            raise LostAnswer(
                lost.reason, f"Nothing is being undone: run `safe-clear undo {set_id}` again."
            ) from None
    try:
        with Progress(screen.progress_console, "Putting back") as progress:
            answer = follow(
                context,
                set_id,
                progress,
                Deadline(None),
                lambda found: (found["undo"]["done"], found["undo"]["total"]),
                of_undo=True,
            )
    except KeyboardInterrupt:
        screen.note(f"The undo goes on by itself. To stop it: safe-clear stop {set_id}")
        raise
    screen.json(answer.text)
    done = answer.data["undo"]
    numbers = (
        f"{done['put_back'] - before['put_back']:,} put back, "
        f"{done['stayed'] - before['stayed']:,} stayed as they are."
    )
    if left := _left(context, set_id):
        screen.line(("Stopped. ", "bold red"), numbers)
        screen.note(f"{count(left, 'dag run')} stay cleared. Undo the rest with `safe-clear undo {set_id}`.")
        return ExitCode.FAILED
    screen.line(("Undone. ", "bold green"), numbers)
    return ExitCode.DONE


def _left(context: Context, set_id: str) -> int:
    """Return how many of the dag runs to undo are not undone: somebody stopped it, or it failed."""
    found = context.client.get(f"/change_sets/{set_id}.json").data
    plans = _chosen(context, found)
    if context.given.run_id:
        now = context.client.get(f"/plans/{plans[0]['id']}/undo.json", run_id=context.given.run_id).data
        return 0 if now["problem"] else int(now["dag_runs_total"])
    return sum(one["cleared_runs"] - one["undone_runs"] for one in plans)
