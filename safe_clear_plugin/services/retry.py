"""Tries a short transaction again after a deadlock; ``services.driver.steps`` does it for batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sqlalchemy.exc import OperationalError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

ATTEMPTS = 3

P = ParamSpec("P")
T = TypeVar("T")


def retrying(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``step``, which is one whole transaction, up to :data:`ATTEMPTS` times.

    PostgreSQL's deadlocks and serialization failures and SQLite's locked database are all of this kind.

    :raises OperationalError: the last one
    """
    attempts = Retrying(
        retry=retry_if_exception_type(OperationalError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random(0.05, 0.5),
        reraise=True,
    )
    return attempts(step, *args, **kwargs)
