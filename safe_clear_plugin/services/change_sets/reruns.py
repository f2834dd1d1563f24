"""The re-runs of a change set's cleared task instances, and how many of these can still be undone."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.services.clear import rerun_progress
from safe_clear_plugin.services.receipt import UndoSummary, count_undoable


@dataclass(frozen=True, slots=True)
class Reruns:
    """The cleared task instances of all plans by current state; ``done`` once none can change by itself."""

    by_state: list[tuple[str | None, int]]
    total: int
    done: bool
    checked_at: datetime


def reruns_of(of: ChangeSet, now: datetime, session: Session) -> Reruns | None:
    """Count the cleared task instances of the set by current state.

    Nothing is returned if none was cleared, or if Airflow's tables are not known.
    """
    total: Counter[str | None] = Counter()
    done = True
    for plan in of.plans:
        if not plan.cleared_runs:
            continue
        found = rerun_progress.progress(plan, now, session)
        if found is None:
            return None
        total.update(dict(found.by_state))
        done = done and found.done
    return Reruns(total.most_common(), total.total(), done, now) if total else None


def undoable_of(of: ChangeSet, now: datetime) -> dict[str, UndoSummary]:
    """Count by DAG the task instances that an undo would put back.

    A DAG is left out if the time for findings is up before it is counted.
    """
    seconds = config.findings_timeout()
    end = time.monotonic() + seconds if seconds else math.inf
    found: dict[str, UndoSummary] = {}
    for plan in of.plans:
        if plan.has_runs_to_undo and time.monotonic() < end:
            found[plan.dag_id] = count_undoable(plan, now)
    return found
