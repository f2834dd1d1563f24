"""Refusing what takes the database too long, so that it does not hold a thread of the server for ever."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.statement_timeout import Budget, OutOfTime, limited
from safe_clear_plugin.core.problems import Problem, Refused

BUSY = "try again when the database is less busy"


def preview_time(session: Session) -> AbstractContextManager[None]:
    """Hold a preview to the time that it may take.

    :raises Refused: 503 when it takes longer; the transaction is to be rolled back
    """
    seconds = config.preview_timeout()
    return _limited(
        seconds,
        session,
        Problem(
            f"The preview took longer than {seconds:g} s and was ended; nothing was written.",
            f"Choose fewer dag runs, a shorter range of dates or fewer tasks, or {BUSY}. "
            f"The limit is `[{config.SECTION}] preview_timeout`.",
        ),
    )


def reading_time(session: Session) -> AbstractContextManager[None]:
    """Hold the reading of what is behind a finding to the time that the findings of a preview may take.

    :raises Refused: 503 when it takes longer; the transaction is to be rolled back
    """
    seconds = config.findings_timeout()
    return _limited(
        seconds,
        session,
        Problem(
            f"To list these task instances took longer than {seconds:g} s and was ended.",
            f"Preview fewer dag runs, or {BUSY}. The limit is `[{config.SECTION}] findings_timeout`.",
        ),
    )


@contextmanager
def _limited(seconds: float, session: Session, problem: Problem) -> Iterator[None]:
    try:
        with limited(Budget(seconds or math.inf), session):
            yield
    except OutOfTime:
        raise Refused(503, problem) from None
