"""Links to the history: the line on each tab, and the redirect for users who may only look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from werkzeug.datastructures import MultiDict

from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.history import ClearCount, HistoryFilter
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services import authorization, history
from safe_clear_plugin.web.api.queries import HistoryQuery
from safe_clear_plugin.web.app import request_hooks, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.history.history_lines import one_task

OF_A_TAB = ("dag_id", "task_id", "run_id", "map_index")


@dataclass(frozen=True, slots=True)
class ClearedLine:
    """The number of clears of a tab's task instance, run, task or DAG; ``url`` lists these clears."""

    what: str
    count: ClearCount
    url: str


def for_viewer(args: MultiDict[str, str]) -> str:
    """Return the history's address for a person who may only look; empty for a person who may clear."""
    if request_hooks.wants_json():
        return ""
    of_tab = tab_of(args)
    dag_id = of_tab.get("dag_id", "")
    user = caller().user
    looks = (
        authorization.only_reads(dag_id, user)
        if dag_id
        else not args and not authorization.may_clear_any(user)
    )
    return templating.url("plans", **of_tab) if looks else ""


def cleared_line(
    dag_id: str, *, task_id: str = "", run_id: str = "", map_index: int | None = None
) -> ClearedLine | None:
    """Return how often a task instance, task, run or DAG was cleared, as far as the caller may see it."""
    wanted = HistoryFilter(
        now=utcnow(),
        task_id=task_id,
        run_id=run_id,
        map_index=map_index if task_id else None,
    )
    found = history.count_clears(wanted, dag_id, caller().user)
    if found is None:
        return None
    one = {"dag_id": dag_id, "task_id": task_id, "run_id": run_id, "map_index": wanted.map_index}
    what = {
        (True, True): "This task instance",
        (True, False): "This task",
        (False, True): "This Dag run",
        (False, False): "This Dag",
    }[bool(task_id), bool(run_id)]
    known = {name: value for name, value in one.items() if value not in ("", None)}
    return ClearedLine(what, found, templating.url("plans", **known))


def line_of_plan(plan: PlanSummary) -> ClearedLine | None:
    """Return the line for the one task, run or task instance of a plan; ``None`` if it is of neither.

    The number of clears of the whole DAG would say nothing about such a plan.
    """
    selection = plan.selection
    task_id = one_task(selection)
    of_one_run = len(selection.run_id) == 1 and not (selection.include_past or selection.include_future)
    if not task_id and not of_one_run:
        return None
    return cleared_line(
        plan.dag_id,
        task_id=task_id,
        run_id=selection.run_id[0] if of_one_run else "",
        map_index=selection.map_index,
    )


def line_of_tab(args: MultiDict[str, str]) -> ClearedLine | None:
    """Return the line for the tab that a query comes from; ``None`` if the query names no DAG."""
    of_tab = tab_of(args)
    return cleared_line(of_tab.pop("dag_id"), **of_tab) if "dag_id" in of_tab else None


def tab_of(args: MultiDict[str, str]) -> dict[str, Any]:
    """Return the fields of a query that name its tab. Airflow leaves braces where it has no value."""
    given = {name: args[name] for name in OF_A_TAB if args.get(name) and not args[name].startswith("{")}
    return _read(given)


def _read(given: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = dict(given)
    try:
        if "map_index" in values:
            values["map_index"] = int(values["map_index"])
        return HistoryQuery.model_validate(values).model_dump(exclude_unset=True)
    except (ValueError, ValidationError):
        return {}
