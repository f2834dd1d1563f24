"""The output of the command line for the progress of a change set."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from safe_clear_plugin.cli.change_set_follow import follow, wait_for_set
from safe_clear_plugin.cli.client import Answer
from safe_clear_plugin.cli.context import Context
from safe_clear_plugin.cli.deadline import Deadline
from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.exit_codes import ExitCode
from safe_clear_plugin.cli.progress import Progress
from safe_clear_plugin.cli.screen import Screen

NO_UNDO = {"under_way": False, "done": 0, "total": 0, "dag_runs_done": 0, "dag_runs_total": 0}
ENDED = {
    "status": "applied",
    "undo": NO_UNDO,
    "interrupted": False,
    "retry_after": 0,
    "plans": [],
    "waves": None,
}


class Server:
    """Answers with one progress after the other, and stays with the last."""

    def __init__(self, *progress: dict[str, Any], plans: list[dict[str, Any]] | None = None) -> None:
        self._progress, self._plans = list(progress), plans or []
        self.asked = 0

    def get(self, address: str) -> Answer:
        """Answer as the server does."""
        found: dict[str, Any] = {"plans": self._plans}
        if address.endswith("/progress.json"):
            self.asked += 1
            found = self._progress[min(self.asked, len(self._progress)) - 1]
        return Answer(200, json.dumps(found), found)


def context(server: Server) -> Context:
    return Context(argparse.Namespace(wait=True), Screen(), server)  # type: ignore[arg-type]


def wait(server: Server) -> ExitCode:
    return wait_for_set(context(server), "a" * 32, Deadline(5))


def ended(*by_state: tuple[str | None, int], finished: bool = False) -> dict[str, Any]:
    return {**ENDED, "by_state": [list(one) for one in by_state], "finished": finished}


def planned(**outcomes: int) -> dict[str, Any]:
    return {"status": "applied", "outcomes": outcomes}


def test_an_undo_beside_a_clear_that_waits_for_a_person_is_followed_to_its_end():
    undoing = {**NO_UNDO, "under_way": True, "total": 4, "dag_runs_total": 2}
    waits = {**ENDED, "status": "applying", "retry_after": 0.1, "waves": {"state": "waiting_for_person"}}
    server = Server({**waits, "undo": undoing}, {**waits, "undo": {**undoing, "under_way": False, "done": 4}})
    with Progress(Screen().progress_console, "Putting back") as progress:
        found = follow(
            context(server),
            "a" * 32,
            progress,
            Deadline(5),
            lambda found: (found["undo"]["done"], found["undo"]["total"]),
            of_undo=True,
        )
    assert (server.asked, found.data["undo"]["done"]) == (2, 4)


def test_what_was_foreseen_never_to_start_is_not_waited_for():
    plans = [planned(runs=2, never_starts=1), planned(runs=2, waits=1)]
    assert wait(Server(ended((None, 2), ("success", 4)), plans=plans)) == ExitCode.WAITS
    plans = [planned(runs=4, never_starts=2)]
    assert wait(Server(ended((None, 2), ("success", 4)), plans=plans)) == ExitCode.FAILED
    with pytest.raises(CommandError, match="not done"):
        wait(Server(ended(("running", 2), ("success", 4)), plans=plans))


def test_what_was_foreseen_to_be_upstream_failed_is_no_failure():
    plans = [planned(runs=2, upstream_failed=1), planned(runs=2, upstream_failed=1)]
    done = ended(("success", 4), ("upstream_failed", 2), finished=True)
    assert wait(Server(done, plans=plans)) == ExitCode.DONE
    assert wait(Server(done, plans=plans[:1])) == ExitCode.FAILED
    assert wait(Server(ended(("failed", 1), finished=True))) == ExitCode.FAILED


def test_re_runs_that_the_server_cannot_count_are_not_waited_for_for_ever():
    with pytest.raises(CommandError, match="can't say"):
        wait(Server({**ENDED, "by_state": None, "finished": None}))
