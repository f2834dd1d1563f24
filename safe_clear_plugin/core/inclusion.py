"""Why a plan includes a task instance: how the selection reached its task."""

from __future__ import annotations

from typing import NamedTuple

from safe_clear_plugin.core.codes import Code


class ReasonKind(Code):
    """A way in which a selection reaches a task."""

    MATCHED = "matched"
    """By the task regex."""
    WHOLE_RUN = "whole_run"
    """Without a task regex."""
    FAILED = "failed"
    """Without a task regex: it failed in the time that was asked for."""
    NOT_IN_DAG = "not_in_dag"
    """Without a task regex, and the DAG version has no such task."""
    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"
    SETUP = "setup"
    TEARDOWN = "teardown"
    MOVES_TO_LATEST = "moves_to_latest"
    """The dag run moves to the latest DAG version."""
    DAG_CHANGED = "dag_changed"
    """The scheduler compares the dag run with the latest DAG version when it next looks at it."""
    MAPPING_CHANGED = "mapping_changed"
    """The scheduler compares a mapped task with its mapping when it is about to start it."""


class Reason(NamedTuple):
    """The reason why a selection includes a task; for a relative also the task that it is a relative of."""

    kind: ReasonKind
    task_id: str = ""
    map_index: int | None = None

    @property
    def is_chosen(self) -> bool:
        """Whether the selection names the task, rather than including it because of another."""
        return self.kind in (ReasonKind.MATCHED, ReasonKind.WHOLE_RUN, ReasonKind.FAILED)

    @property
    def words(self) -> str:
        """The reason as the table of a plan and its JSON write it."""
        index = "" if self.map_index is None else f" [{self.map_index}]"
        return WORDS[self.kind].format(task=self.task_id) + index


WORDS = {
    ReasonKind.MATCHED: "matched",
    ReasonKind.WHOLE_RUN: "whole run",
    ReasonKind.FAILED: "failed",
    ReasonKind.NOT_IN_DAG: "whole run, task not in the DAG",
    ReasonKind.UPSTREAM: "upstream of {task}",
    ReasonKind.DOWNSTREAM: "downstream of {task}",
    ReasonKind.SETUP: "setup of {task}",
    ReasonKind.TEARDOWN: "teardown of {task}",
    ReasonKind.MOVES_TO_LATEST: "the run moves to the latest DAG version",
    ReasonKind.DAG_CHANGED: "the DAG has changed since the run",
    ReasonKind.MAPPING_CHANGED: "the mapping of the task has changed since the run",
}

MATCHED = Reason(ReasonKind.MATCHED)
WHOLE_RUN = Reason(ReasonKind.WHOLE_RUN)
FAILED = Reason(ReasonKind.FAILED)
NOT_IN_DAG = Reason(ReasonKind.NOT_IN_DAG)
MOVES_TO_LATEST = Reason(ReasonKind.MOVES_TO_LATEST)
DAG_CHANGED = Reason(ReasonKind.DAG_CHANGED)
MAPPING_CHANGED = Reason(ReasonKind.MAPPING_CHANGED)
