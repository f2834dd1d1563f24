"""A plan as a terminal shows it: the task instances, like a diff; the reasons; findings; and outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from safe_clear_plugin.cli.refusals import describe_drift
from safe_clear_plugin.cli.screen import Screen
from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.outcomes import OUTCOME_LABELS, Outcome, describe_counts
from safe_clear_plugin.core.states import counted_states, state_name

Json = Mapping[str, Any]
Cell = tuple[str, str]

EFFECTS = {
    Effect.CLEAR: ("~", "yellow", "cleared"),
    Effect.TERMINATE: ("!", "bold red", "terminated and cleared"),
    Effect.LEAVE_OUT: (" ", "dim", "left out"),
    Effect.CREATE: ("+", "green", "created"),
    Effect.RESTORE: ("+", "green", "restored"),
    Effect.REMOVE: ("-", "red", "removed"),
}
"""The mark of a row, its color, and the words for its effect."""
LEVELS = {
    "refuse": ("refused", "bold red"),
    "acknowledge": ("acknowledge", "bold yellow"),
    "warn": ("warning", "yellow"),
    "info": ("note", "cyan"),
}
"""The word for a finding's level, and its color; the gravest first."""
STATUS_STYLES = {
    "ready": "bold", "waiting": "yellow", "applying": "yellow", "applied": "green", "undone": "cyan",
    "stopped": "red", "stale": "red", "declined": "red", "expired": "dim",
}  # fmt: skip


def show_plan(screen: Screen, plan: Json, rows: Sequence[Json], total: int) -> None:
    """Print a plan, with the first of its ``total`` task instances."""
    status = str(plan["status"])
    screen.line(
        ("Plan ", "bold"), (str(plan["id"]), "bold"), f"  {plan['dag_id']}  ",
        (status, STATUS_STYLES.get(status, "")), _until(plan),
    )  # fmt: skip
    screen.paragraph(plan["sentence"], indent=2)
    screen.line()
    _show_rows(screen, plan, rows, total)
    _show_summary(screen, plan)
    show_findings(screen, plan)
    show_problem(screen, plan.get("problem"))


def _until(plan: Json) -> str:
    return f" until {moment(plan['expires_at'])}" if plan["status"] in ("ready", "waiting") else ""


def _show_rows(screen: Screen, plan: Json, rows: Sequence[Json], total: int) -> None:
    runs = {run["run_id"]: run for run in plan["dag_runs"]}
    for run_id, of_run in groupby(rows, key=lambda row: row["run_id"]):
        run = runs.get(run_id)
        states = [state_name(run[when]["state"]) for when in ("before", "after")] if run else []
        change = " → ".join(dict.fromkeys(states))
        screen.line((str(run_id), "bold"), f"  {change}", *_fate(run), indent=2)
        screen.table(map(_row, of_run), indent=4)
    if left := total - len(rows):
        screen.line((f"… and {count(left, 'more task instance')} (--rows)", "dim"), indent=2)
    if rows or total:
        screen.line()


def _fate(run: Json | None) -> Iterable[Cell]:
    """Describe the outcome of a dag run, unless it simply runs."""
    outcome = run["outcome"] if run else None
    words = {"fails": "will fail", "never_starts": "will never start or end", "unknown": "not known"}
    if run and outcome in words:
        why = f": {run['outcome_why']}" if run["outcome_why"] else ""
        yield f"  {words[outcome]}{why}", "red"


def _row(row: Json) -> list[Cell]:
    mark, style, does = EFFECTS.get(row["effect"], ("?", "", str(row["effect"])))
    index = f"[{row['map_index']}]" if row["map_index"] >= 0 else ""
    before = row["before"]
    by = " by the scheduler" if row["by"] == "scheduler" else ""
    return [
        (f"{mark} {row['task_id']}{index}", style),
        (state_name(before["state"]) if before else "–", ""),
        (f"{does}{by}", style),
        (str(row["why"]), "dim"),
        (_outcome(row), "" if row["outcome"] in (Outcome.RUNS, None) else "red"),
    ]


def _outcome(row: Json) -> str:
    if not row["outcome"]:
        return ""
    try:
        label = OUTCOME_LABELS[Outcome(row["outcome"])]
    except ValueError:
        label = str(row["outcome"])
    return f"{label}: {row['outcome_why']}" if row["outcome_why"] else label


def _show_summary(screen: Screen, plan: Json) -> None:
    counts = plan["counts"]
    text = f"{count(counts['task_instances'], 'task instance')} in {count(counts['dag_runs'], 'dag run')}"
    states = counted_states(counts["by_state"].items())
    screen.line(("Clear ", "bold"), (text, "bold"), f" ({states})" if states else "")
    if outcomes := describe_counts(plan["outcomes"]):
        screen.line(("Then  ", "bold"), outcomes)


def show_findings(screen: Screen, plan: Json) -> None:
    """Print the findings, the gravest first; what a clear costs is one of them."""
    order = list(LEVELS)
    known = [one for one in plan["findings"] if one["level"] in LEVELS]
    for finding in sorted(known, key=lambda one: order.index(one["level"])):
        word, style = LEVELS[finding["level"]]
        screen.line()
        screen.line((word, style), f"  {finding['title']}  ", (f"[{finding['code']}]", "dim"))
        screen.paragraph(finding["detail"], "dim", indent=4)
        if finding["remedy"]:
            screen.paragraph(finding["remedy"], indent=4)
    if unchecked := plan["findings_not_checked"]:
        screen.line()
        screen.line(("warning", "yellow"), f"  Not checked in time: {', '.join(map(str, unchecked))}")


def show_problem(screen: Screen, problem: Json | None) -> None:
    """Print what stopped a plan, and which dag runs its undo left out."""
    for one in (problem, (problem or {}).get("undo")):
        if not one or not (one.get("reason") or one.get("kind")):
            continue
        screen.line()
        screen.line(("Stopped: " if one is problem else "Left out: ", "red"), _why(one))
        if one.get("remedy"):
            screen.paragraph(one["remedy"], indent=2)
        for row in one.get("moved") or ():
            screen.line(describe_drift(row), indent=4)
        for text in (*(one.get("mismatches") or ()), *(one.get("run_ids") or ())):
            screen.line(str(text), indent=4)


def _why(one: Json) -> str:
    by = f" by {one['by']}" if one.get("by") else ""
    return str(one.get("reason") or f"{one.get('kind')}{by}")


def moment(text: object) -> str:
    """Return a moment of the server's JSON, which is in UTC, to the minute."""
    return f"{str(text)[:16].replace('T', ' ')} UTC" if text else "–"
