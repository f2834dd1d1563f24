"""The history: clears with Safe Clear, and clears with Airflow's own means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.plan import PlanSummary, TeamDag

HistorySort = Literal[
    "at", "dag_id", "task_instances", "user", "outcome",
    "-at", "-dag_id", "-task_instances", "-user", "-outcome",
]  # fmt: skip
NEWEST_FIRST: HistorySort = "-at"

HistoryOutcome = Literal[
    "waiting", "applying", "interrupted", "applied", "stopped", "undone", "stale", "declined", "expired",
    "airflow",
]  # fmt: skip
"""A :class:`~safe_clear_plugin.core.plan.ShownStatus` of a plan that is no draft, or Airflow's own clear."""
WITH_AIRFLOW: HistoryOutcome = "airflow"

ALL_DAGS = "~"
"""Stands in Airflow's addresses and its audit log for several DAGs; the request names them one by one."""


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """The filters of the history. ``user`` is a part of a name."""

    now: datetime
    dags: Sequence[TeamDag] = ()
    """The DAGs whose plans are listed."""
    logged_dags: Sequence[TeamDag] = ()
    """The DAGs whose clears in Airflow's audit log are listed."""
    bulk_ids: Sequence[int] = ()
    """Audit log ids of clears that name DAGs one by one, if the caller may see at least one of these DAGs."""
    task_id: str = ""
    run_id: str = ""
    map_index: int | None = None
    user: str = ""
    user_id: str = ""
    """Lists only the entries of one person; ``user_name`` is the person's name in Airflow's audit log."""
    user_name: str = ""
    outcome: HistoryOutcome | None = None
    since: datetime | None = None
    until: datetime | None = None
    drafts: bool = False
    """Lists plans that nobody has confirmed or asked approval for, instead of past clears."""
    only_cleared: bool = False
    """Lists only plans that cleared something, and clears that Airflow was asked for."""
    by_set: bool = False
    """Lists the plans of a change set as one entry, if the caller may see all its DAGs."""
    set_dags: Sequence[TeamDag] = ()
    """The DAGs of the change sets that the caller may see."""


@dataclass(frozen=True, slots=True)
class LoggedClear:
    """A clear that somebody asked Airflow for, from its audit log. The log does not record the result."""

    id: int
    at: datetime
    event: str
    dag_id: str
    by_name: str
    run_ids: tuple[tuple[str, str], ...] = ()
    """DAG id and run id of the runs that are named."""
    task_ids: tuple[str, ...] = ()
    """The tasks that are named; an empty tuple stands for all tasks."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The other fields of the request: dates, directions, states."""

    @property
    def dag_ids(self) -> list[str]:
        """The DAGs that it is about."""
        if self.dag_id != ALL_DAGS:
            return [self.dag_id]
        return list(dict.fromkeys(dag_id for dag_id, _ in self.run_ids))


@dataclass(frozen=True, slots=True)
class HistoryKey:
    """A row of the history: a plan, a change set or a row of Airflow's audit log, and when it happened."""

    at: datetime
    plan_id: UUID | None
    log_id: int | None
    set_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An entry of the history: a plan, a change set, or a row of Airflow's audit log."""

    at: datetime
    plan: PlanSummary | None = None
    change_set: ChangeSet | None = None
    logged: LoggedClear | None = None
    first_run: datetime | None = None
    """The date of the first run of the plan or set; if runs were cleared, of the first cleared run."""
    last_run: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClearCount:
    """The number of clears of something, and the last one, either with Safe Clear or by Airflow itself."""

    cleared: int
    """Clears with Safe Clear."""
    asked: int
    """Clears that Airflow was asked for. Its audit log does not record their results."""
    at: datetime
    by_name: str
