"""Sends a confirmed clear or undo, and follows it, and the re-runs, until they are done.

The server's driver works; its progress is read. A command that ends before leaves the work to the driver.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.cli.client import ATTEMPTS, Answer, Client
from safe_clear_plugin.cli.deadline import Deadline
from safe_clear_plugin.cli.errors import CommandError, LostAnswer
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.progress import Progress
from safe_clear_plugin.cli.screen import Screen
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.states import DONE_STATES, counted_states

Json = Mapping[str, Any]

POLL = 0.5
LONGEST_POLL = 10.0
PERSON = "waiting_for_person"
WAITS_FOR = {PERSON: "a person", "waiting_for_runs": "cleared runs to finish", "scheduled": "its time"}
"""The cause of a wait between waves, by the server's code."""
NOT_STARTED = (None, "scheduled", "queued")


def follow_clear(
    client: Client, answer: Answer, progress: Progress, deadline: Deadline, *, through_waves: bool = False
) -> Answer:
    """Follow a clear from the answer to its confirmation until it ends or waits for a person.

    A clear that waits for runs or for a time is followed further only with ``through_waves``.

    :raises CommandError: when no driver works on it, the server can't be reached, or the clear takes too long
    """
    while answer.data["status"] == "applying":
        state = wave_state(answer.data)
        if state == PERSON or (state and not through_waves):
            break
        progress.show(answer.data["done"], answer.data["total"], state.replace("_", " "))
        deadline.sleep(_seconds_after(answer.data), "The clear was", answer.data["id"])
        answer = _read_progress(client, answer.data["id"])
    progress.show(answer.data["done"], answer.data["total"])
    return answer


def wave_state(found: Json) -> str:
    """Return what a clear in waves waits for, as the server says it; nothing while it clears."""
    waves = found.get("waves")
    state = str(waves.get("state") or "") if isinstance(waves, dict) else ""
    return state if state in WAITS_FOR else ""


def follow_undo(client: Client, plan_id: str, body: Json, progress: Progress, before: Json) -> Answer:
    """Ask for an undo, and follow it until it ends; the answer is the plan's progress.

    ``before`` is the progress of undos of the plan at the time of the decision.

    :raises CommandError: when it is refused, no driver works on it, or the server cannot be reached
    """
    undo = _ask_to_undo(client, f"/plans/{plan_id}", body, before)
    while undo["under_way"]:
        progress.show(undo["done"], undo["total"])
        time.sleep(_seconds_after(undo))
        undo = _read_progress(client, plan_id).data["undo"]
    progress.show(undo["done"], undo["total"])
    return client.get(f"/plans/{plan_id}/progress.json")


def _ask_to_undo(client: Client, address: str, body: Json, before: Json) -> Json:
    """Ask for an undo. After a lost answer, find out whether the request arrived, before it is sent again.

    It arrived if the number of dag runs that are undone, or are to be undone, has grown.

    :raises LostAnswer: when even the last answer is lost, and the request has not arrived
    """
    lost: LostAnswer | None = None
    for _ in range(ATTEMPTS):
        try:
            return client.post(f"{address}/undo", body, repeatable=False).data
        except LostAnswer as error:
            lost = error
        found: Json = client.get(f"{address}/progress.json").data["undo"]
        if any(found[name] > before[name] for name in ("dag_runs_total", "dag_runs_done")):
            return found
    assert lost is not None
    raise lost


def _seconds_after(answer: Json) -> float:
    """Return the seconds to wait before the next request, as the last answer says."""
    return min(float(answer.get("retry_after") or POLL), LONGEST_POLL)


def _read_progress(client: Client, plan_id: str) -> Answer:
    """Read the progress of a plan that is in progress.

    :raises CommandError: when no driver works on the plan
    """
    answer = client.get(f"/plans/{plan_id}/progress.json")
    if answer.data["interrupted"]:
        raise CommandError(
            "It is confirmed, but no driver has worked on it for a minute.",
            "Start an api-server, or `airflow safe-clear driver`: it then goes on by itself. Follow it with "
            f"`safe-clear status {plan_id}`.",
            ExitCode.FAILED,
        )
    return answer


@dataclass(frozen=True)
class Reruns:
    """The result of the re-run of the cleared task instances."""

    answer: Answer
    failed: int
    not_started: int
    """Those that nothing will start, and those that wait for a person."""
    code: ExitCode


def follow_reruns(client: Client, plan: Json, progress: Progress, deadline: Deadline) -> Reruns:
    """Wait until the cleared task instances have run again, as far as the plan foresees that they do.

    :raises CommandError: when the re-runs take too long, or somebody undoes the clear
    """
    poll = POLL
    while True:
        answer = client.get(f"/plans/{plan['id']}/progress.json")
        _require_not_undone(answer.data)
        counted = answer.data["by_state"]
        if counted is not None:
            states = dict(counted)
            left = unfinished(states)
            total = sum(states.values())
            progress.show(total - sum(left.values()), total, describe(states))
            if answer.data["finished"] or only_stuck(plan, left):
                return judge(plan, answer, states, sum(left.values()))
        deadline.sleep(poll, "The re-runs were", plan["id"])
        poll = min(poll * 1.2, LONGEST_POLL)


def _require_not_undone(found: Json) -> None:
    """Refuse to wait for re-runs that will not come: task instances put back by an undo do not run again."""
    undo = found["undo"]
    if not undo["dag_runs_total"]:
        return
    does = "is being" if undo["under_way"] else "was"
    runs = f"{undo['dag_runs_total']:,} of {count(found['dag_runs_done'], 'dag run')}"
    raise CommandError(
        f"The clear {does} undone in {runs}: not all of it runs again.",
        f"`safe-clear status {found['id']}` says how far the undo is.",
        ExitCode.FAILED,
    )


def unfinished(states: Mapping[str | None, int]) -> dict[str | None, int]:
    """Return the states that can still change, with the number of task instances in each."""
    return {state: number for state, number in states.items() if state not in DONE_STATES}


def describe(states: Mapping[str | None, int]) -> str:
    """Return the numbers by state in words."""
    return counted_states(states.items())


def _stuck(plan: Json, *outcomes: str) -> int:
    return sum(plan["outcomes"].get(outcome, 0) for outcome in outcomes)


def only_stuck(plan: Json, left_over: Mapping[str | None, int]) -> bool:
    """Whether the plan foresaw that all remaining task instances never start, or wait for a person."""
    foreseen = _stuck(plan, "never_starts", "waits")
    left = sum(left_over.values())
    waits = _stuck(plan, "waits")
    return 0 < left <= foreseen and (waits > 0 or all(state in NOT_STARTED for state in left_over))


def judge(plan: Json, answer: Answer, states: Mapping[str | None, int], left: int) -> Reruns:
    """Return the result of the re-runs, compared with the plan; ``left`` of them are not done."""
    # A task instance that the plan foresaw as Upstream Failed is no failure of the re-runs.
    foreseen = _stuck(plan, "upstream_failed")
    failed = states.get("failed", 0) + max(0, states.get("upstream_failed", 0) - foreseen)
    code = ExitCode.DONE
    if failed:
        code = ExitCode.FAILED
    elif left:
        code = ExitCode.WAITS if _stuck(plan, "waits") else ExitCode.FAILED
    return Reruns(answer, failed, left, code)


def show_reruns(screen: Screen, found: Reruns) -> ExitCode:
    """Print how the cleared task instances ran again, and return the exit code."""
    screen.json(found.answer.text)
    screen.line(("Ran again: ", "bold"), describe(dict(found.answer.data["by_state"])))
    if found.failed:
        screen.note(("Failed: ", "red"), f"{count(found.failed, 'task instance')} of the re-runs.")
    elif found.not_started:
        screen.note(f"{count(found.not_started, 'task instance')} will not start, as the plan says.")
    return found.code
