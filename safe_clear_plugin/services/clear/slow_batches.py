"""Batches that the database does not finish in time: the next one takes fewer runs, down to one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError

from safe_clear_plugin.airflow_api.platform import database_errors
from safe_clear_plugin.core.batch_size import BatchSizer
from safe_clear_plugin.services.clear.scheduler_turns import NotYet, Turn

log = logging.getLogger(__name__)


class RunTooSlow(Exception):
    """A statement took too long although the transaction was about a single dag run; it was rolled back."""

    def __init__(self, run_id: str, error: OperationalError) -> None:
        super().__init__(run_id)
        self.run_id = run_id
        self.error = error


@contextmanager
def halving(sizer: BatchSizer, run_ids: Sequence[str], task_instances: int, own_turn: Turn) -> Iterator[None]:
    """Let the next transaction take fewer runs if a statement of this one takes too long.

    :raises NotYet: when there are fewer to try, once the schedulers have had their turn
    :raises RunTooSlow: when it is a single run
    """
    try:
        yield
    except OperationalError as error:
        if not run_ids or database_errors.kind_of(error) != "statement_timeout":
            raise
        if len(run_ids) == 1:
            raise RunTooSlow(run_ids[0], error) from error
        log.warning("A batch of %d runs took too long; the next is smaller", len(run_ids), exc_info=error)
        sizer.halve(task_instances)
        raise NotYet(own_turn.held) from error
