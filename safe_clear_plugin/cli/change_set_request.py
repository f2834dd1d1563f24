"""The request of ``plan-set``: for Dags that are chosen, or for Dags that wait for a plan."""

from __future__ import annotations

import argparse
import re
from typing import Any

from safe_clear_plugin.cli import plan_file
from safe_clear_plugin.cli.context import Context, path_part
from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.selection_body import change_set_body
from safe_clear_plugin.core.time_difference import read_time_difference

DELTA = re.compile(r"(?P<dag_id>[^:=]+):(?P<task_id>[^:=]+)=(?P<time>.+)")


def change_set_request(context: Context) -> tuple[str, dict[str, Any]]:
    """Return the address and the body of the request that makes the change set.

    :raises CommandError: when options contradict each other
    """
    given, body = context.given, change_set_body(context.given)
    if given.waiting_for is None:
        for option in ("delta", "without"):
            if getattr(given, option) is not None:
                raise CommandError(
                    f"--{option} needs --waiting-for.", "Name the plan that the sensors wait for."
                )
        return "/change_sets", body
    if body:
        names = ", ".join(f"`{name}`" for name in body)
        raise CommandError(
            f"With --waiting-for, the plan decides which task instances are cleared, so {names} can't be "
            "given.",
            "Leave it out, or plan without --waiting-for.",
        )
    plan = plan_file.resolve(given.waiting_for, context.client.server)
    without = {"without": given.without} if given.without is not None else {}
    return f"/plans/{path_part(plan.id)}/waiting_dags", {"deltas": _deltas(given), **without}


def _deltas(given: argparse.Namespace) -> list[list[Any]]:
    return [_delta(text) for text in given.delta or ()]


def _delta(text: str) -> list[Any]:
    found = DELTA.fullmatch(text)
    time = read_time_difference(found["time"]) if found else None
    if found is None or time is None:
        raise CommandError(
            f"Can't read --delta {text}.",
            "Write DAG_ID:SENSOR=TIME, for example 1h, 30m or a number of seconds. 0 means the same logical "
            "date.",
        )
    return [found["dag_id"], found["task_id"], int(time.total_seconds())]
