"""The commands that read and make plans: ``plan``, ``show``, ``history``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safe_clear_plugin.cli import plan_file, plan_view
from safe_clear_plugin.cli.client import Answer
from safe_clear_plugin.cli.context import MAX_ROWS, Context, path_part
from safe_clear_plugin.cli.errors import CommandError, LostAnswer, Refused
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.plan_view import STATUS_STYLES, moment
from safe_clear_plugin.cli.selection_body import selection_body
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.problems import NOTHING_TO_CLEAR

Json = Mapping[str, Any]
ROWS = 40
"""Task instances that are listed unless another number is asked for."""


def plan(context: Context) -> ExitCode:
    """Make a plan, print it, and write it to a file."""
    given, screen = context.given, context.screen
    found = make(context)
    if found is None:
        return ExitCode.DONE
    if given.output_file:
        plan_file.write(given.output_file, context.client.server, found.data)
    screen.json(found.text)
    print_plan(context, found.data)
    name = given.output_file or found.data["id"]
    if is_refused(found.data):
        screen.note("This plan can't be applied, see above.")
        return ExitCode.REFUSED
    screen.note("To apply it: ", ("safe-clear apply " + name, "bold"))
    return ExitCode.CHANGES if given.detailed_exitcode else ExitCode.DONE


def make(context: Context) -> Answer | None:
    """Make a plan from the options; ``None`` when there is nothing to clear."""
    try:
        return context.client.post("/plans", selection_body(context.given), repeatable=False)
    except LostAnswer as lost:
        raise LostAnswer(
            lost.reason,
            "Plan again, with --timeout for more time. Nothing was cleared, and a plan that nobody applies "
            "expires.",
        ) from None
    except Refused as refused:
        if refused.code != NOTHING_TO_CLEAR:
            raise
        _nothing_to_clear(context, refused)
        return None


def _nothing_to_clear(context: Context, refused: Refused) -> None:
    context.screen.json(refused.text)
    context.screen.line(("Nothing to clear. ", "bold"), refused.reason)
    path = getattr(context.given, "output_file", None)
    if path and plan_file.remove_old(path):
        context.screen.note(f"{path} was of an earlier plan and is removed.")


def is_refused(plan: Json) -> bool:
    """Whether the plan has a finding that keeps anybody from applying it."""
    return any(one["level"] == "refuse" for one in plan["findings"])


def require_not_refused(plan: Json) -> None:
    """Refuse a plan that nobody can apply, before anything is asked.

    :raises CommandError: with the findings that refuse it
    """
    if is_refused(plan):
        refusing = [one for one in plan["findings"] if one["level"] == "refuse"]
        raise CommandError(
            "This plan can't be applied. Nothing was cleared.",
            "Change the selection, and plan again.",
            ExitCode.REFUSED,
            tuple(f"{one['title']}. {one['remedy'] or one['detail']}" for one in refusing),
        )


def show(context: Context) -> ExitCode:
    """Print a plan, or its receipt."""
    reference = context.reference()
    found = context.client.get(f"/plans/{path_part(reference.id)}.json")
    require_same(found.data, reference.fingerprint)
    context.screen.json(found.text)
    print_plan(context, found.data)
    for batch in found.data["batches"] if not context.screen.as_json else ():
        did = {"clear": "cleared", "undo": "put back"}.get(batch["kind"], str(batch["kind"]))
        text = (
            f"{moment(batch['at'])}  {did} {count(batch['task_instances'], 'task instance')} by {batch['by']}"
        )
        context.screen.line(text, indent=2)
    return ExitCode.DONE


def named_plan(context: Context) -> Json:
    """Read the plan that the command names.

    :raises CommandError: when it is not the one in the file
    """
    reference = context.reference()
    plan = context.plan(reference.id)
    require_same(plan, reference.fingerprint)
    return plan


def require_same(plan: Json, fingerprint: str) -> None:
    """Refuse a plan that is not the one in the file.

    :raises CommandError: when it is not
    """
    if fingerprint and plan["fingerprint"] != fingerprint:
        raise CommandError(
            "The file and the server do not mean the same plan.", "Plan again.", ExitCode.REFUSED
        )


def print_plan(context: Context, found: Json) -> None:
    """Print a plan with its first task instances."""
    if context.screen.as_json:
        return
    wanted = ROWS if context.given.rows is None else max(0, context.given.rows)
    rows, runs, total = read_rows(context, found, wanted)
    plan_view.show_plan(context.screen, {**found, "dag_runs": runs}, rows, total)


def read_rows(context: Context, found: Json, wanted: int) -> tuple[Sequence[Json], Sequence[Json], int]:
    """Return the first task instances of a plan, their dag runs, and how many task instances there are."""
    rows, total = _rows(context, found["id"], wanted)
    return rows, _runs(context, found, {row["run_id"] for row in rows}), total


def _rows(context: Context, plan_id: str, wanted: int) -> tuple[Sequence[Json], int]:
    rows: list[Json] = []
    while True:
        limit = max(1, min(wanted - len(rows), MAX_ROWS))
        page = context.client.get(f"/plans/{plan_id}/task_instances.json", offset=len(rows), limit=limit).data
        rows += page["items"]
        if len(rows) >= min(wanted, page["total"]) or not page["items"]:
            return rows[:wanted], page["total"]


def _runs(context: Context, found: Json, wanted: set[str]) -> Sequence[Json]:
    """Return the dag runs of the listed rows; the plan has the first of them."""
    runs = list(found["dag_runs"])
    while not wanted <= {run["run_id"] for run in runs} and len(runs) < found["counts"]["dag_runs"]:
        page = context.client.get(f"/plans/{found['id']}.json", offset=len(runs), limit=MAX_ROWS)
        if not page.data["dag_runs"]:
            break
        runs += page.data["dag_runs"]
    return runs


def history(context: Context) -> ExitCode:
    """List plans."""
    given, screen = context.given, context.screen
    found = context.client.get(
        "/plans.json",
        dag_id=given.dag_id,
        user=given.made_by,
        status=given.status,
        date_from=given.date_from,
        date_to=given.date_to,
        mine="true" if given.mine else None,
        limit=given.limit,
        offset=given.offset,
    )
    screen.json(found.text)
    if items := found.data["items"]:
        head = ("Plan", "Status", "Dag", "Cleared", "Created", "By", "Reason")
        screen.table([[(name, "bold") for name in head], *map(_item, items)])
    screen.line(
        f"{len(items):,} of {count(found.data['total'], 'plan')}" if items else "There are no such plans."
    )
    return ExitCode.DONE


def _item(one: Json) -> list[tuple[str, str]]:
    status = "interrupted" if one["interrupted"] else one["status"]
    return [
        (str(one["id"]), ""),
        (str(status), STATUS_STYLES.get(one["status"], "")),
        (str(one["dag_id"]), ""),
        (f"{one['cleared']:,}/{one['task_instances']:,}", ""),
        (moment(one["created_at"]), ""),
        (str(one["applied_by"] or one["created_by"]), ""),
        (str(one["reason"]).partition("\n")[0], "dim"),
    ]
