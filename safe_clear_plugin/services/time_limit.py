"""Time limits of previews: a slow query does not occupy a thread of the server forever."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget, OutOfTime, limited
from safe_clear_plugin.core.formats import limit
from safe_clear_plugin.core.problems import Problem, Refused

log = logging.getLogger(__name__)
Found = TypeVar("Found")

BUSY = "try again when the database is less busy"


class TookTooLong(Refused):
    """503: the work in the database was ended at its time limit."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(503, problem)


@contextmanager
def preview_time(session: Session) -> Iterator[None]:
    """Hold a preview to the time that it may take.

    :raises TookTooLong: when it takes longer; the transaction is to be rolled back
    """
    seconds = config.preview_timeout()
    problem = Problem(
        f"The preview took longer than {limit(seconds)}, so it was cancelled. Nothing was saved.",
        f"Choose fewer dag runs, a shorter date range or fewer tasks, or {BUSY}. "
        f"The limit is `[{config.SECTION}] preview_timeout`.",
    )
    with _budget(seconds, problem) as budget, limited(budget, session):
        yield


@contextmanager
def failed_time(session: Session) -> Iterator[None]:
    """Give the search for failures the time of a preview.

    :raises TookTooLong: when it takes longer
    """
    seconds = config.preview_timeout()
    problem = Problem(
        f"The search for failures took longer than {limit(seconds)}, so it was cancelled.",
        f"Choose a Dag under “New plan”, or {BUSY}. The limit is `[{config.SECTION}] preview_timeout`.",
    )
    with _budget(seconds, problem) as budget, limited(budget, session):
        yield


@contextmanager
def undo_preview_time(shared: Budget | None = None) -> Iterator[Budget]:
    """Give the preview of an undo the time of a preview, for all of its transactions together.

    With a ``shared`` budget, give it the rest of that budget.

    :raises TookTooLong: when it takes longer; the transaction is to be rolled back
    """
    seconds = config.preview_timeout()
    problem = Problem(
        f"The undo preview took longer than {limit(seconds)}, so it was cancelled. Nothing was restored.",
        f"Choose fewer dag runs, or {BUSY}. The limit is `[{config.SECTION}] preview_timeout`.",
    )
    with _budget(seconds, problem, shared) as budget:
        yield budget


def shared_preview_budget() -> Budget:
    """Return the time of one preview, for several of them to share."""
    return Budget(config.preview_timeout() or math.inf)


@contextmanager
def undo_summary_time() -> Iterator[Budget]:
    """Give what a receipt says about an undo the time of findings, which a page can be shown without.

    :raises TookTooLong: when it takes longer; the transaction is to be rolled back
    """
    seconds = config.findings_timeout()
    problem = Problem(f"not counted within {limit(seconds)}", "")
    with _budget(seconds, problem) as budget:
        yield budget


@contextmanager
def reading_time(session: Session) -> Iterator[None]:
    """Hold the reading of a finding's rows to the time that the findings of a preview may take.

    :raises TookTooLong: when it takes longer; the transaction is to be rolled back
    """
    seconds = config.findings_timeout()
    problem = Problem(
        f"Listing these task instances took longer than {limit(seconds)}, so it was cancelled.",
        f"Preview fewer dag runs, or {BUSY}. The limit is `[{config.SECTION}] findings_timeout`.",
    )
    with _budget(seconds, problem) as budget, limited(budget, session):
        yield


def read_in_time(read: Callable[[Session], Found]) -> Found | None:
    """Read the values of a part of a page that can be left out, within the time for findings.

    Nothing is returned if the read takes longer, or the database fails.
    """
    seconds = config.findings_timeout()
    problem = Problem(f"not read within {limit(seconds)}", "")
    try:
        with _budget(seconds, problem) as budget, new_session() as session, limited(budget, session):
            return read(session)
    except (TookTooLong, DBAPIError) as error:
        log.warning("A part of a page is left out: %s", error)
        return None


@contextmanager
def _budget(seconds: float, problem: Problem, shared: Budget | None = None) -> Iterator[Budget]:
    try:
        yield shared or Budget(seconds or math.inf)
    except OutOfTime:
        raise TookTooLong(problem) from None
