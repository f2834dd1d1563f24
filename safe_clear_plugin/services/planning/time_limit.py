"""Time limits of previews: a slow query does not occupy a thread of the server forever."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget, OutOfTime, limited
from safe_clear_plugin.core.problems import Problem, Refused

BUSY = "try again when the database is less busy"


class TookTooLong(Refused):
    """503: what was under way in the database has been ended at its time limit."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(503, problem)


@contextmanager
def preview_time(session: Session) -> Iterator[None]:
    """Hold a preview to the time that it may take.

    :raises TookTooLong: when it takes longer; the transaction is to be rolled back
    """
    seconds = config.preview_timeout()
    problem = Problem(
        f"The preview took longer than {seconds:g} s, so it was cancelled. Nothing was saved.",
        f"Choose fewer dag runs, a shorter date range or fewer tasks, or {BUSY}. "
        f"The limit is `[{config.SECTION}] preview_timeout`.",
    )
    with _budget(seconds, problem) as budget, limited(budget, session):
        yield


@contextmanager
def undo_preview_time() -> Iterator[Budget]:
    """Give the preview of an undo the time of a preview, for all of its transactions together.

    :raises TookTooLong: when it takes longer; the transaction is to be rolled back
    """
    seconds = config.preview_timeout()
    problem = Problem(
        f"The undo preview took longer than {seconds:g} s, so it was cancelled. Nothing was restored.",
        f"Choose fewer dag runs, or {BUSY}. The limit is `[{config.SECTION}] preview_timeout`.",
    )
    with _budget(seconds, problem) as budget:
        yield budget


@contextmanager
def undo_summary_time() -> Iterator[Budget]:
    """Give what a receipt says about an undo the time of findings, which a page can be shown without.

    :raises TookTooLong: when it takes longer; the transaction is to be rolled back
    """
    seconds = config.findings_timeout()
    problem = Problem(f"not counted within {seconds:g} s", "")
    with _budget(seconds, problem) as budget:
        yield budget


@contextmanager
def reading_time(session: Session) -> Iterator[None]:
    """Hold the reading of what is behind a finding to the time that the findings of a preview may take.

    :raises TookTooLong: when it takes longer; the transaction is to be rolled back
    """
    seconds = config.findings_timeout()
    problem = Problem(
        f"Listing these task instances took longer than {seconds:g} s, so it was cancelled.",
        f"Preview fewer dag runs, or {BUSY}. The limit is `[{config.SECTION}] findings_timeout`.",
    )
    with _budget(seconds, problem) as budget, limited(budget, session):
        yield


@contextmanager
def _budget(seconds: float, problem: Problem) -> Iterator[Budget]:
    try:
        yield Budget(seconds or math.inf)
    except OutOfTime:
        raise TookTooLong(problem) from None
