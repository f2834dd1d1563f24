"""Turns all speedups of a clear on, unless ``[safe_clear] speedups`` is off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import FromClause
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear.related_rows import RelatedRows
from safe_clear_plugin.airflow_api.platform import config

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance


@contextmanager
def speed_up_clear(
    dag_id: str,
    task_instances: Sequence[TaskInstance],
    wanted: FromClause,
    related: RelatedRows,
    session: Session,
    *,
    reads_again: bool,
) -> Iterator[None]:
    """Speed up the ``clear_task_instances`` that is called within for these task instances.

    ``wanted`` selects their ids, ``related`` counts the rows of other tables that belong to them, and
    ``reads_again`` says that Airflow flushes in the middle and reads the objects again.
    """
    if not config.speedups():
        yield
        return
    # Imported for a clear alone: pages are shown even where Airflow has not all that these need.
    from safe_clear_plugin.airflow_api.clear.speedups.bulk_update import update_in_bulk  # noqa: PLC0415
    from safe_clear_plugin.airflow_api.clear.speedups.cached_lookups import cache_lookups  # noqa: PLC0415
    from safe_clear_plugin.airflow_api.clear.speedups.history_copy import copy_history  # noqa: PLC0415

    with (
        cache_lookups(dag_id, task_instances, wanted, related, session) as lookups,
        copy_history(task_instances, wanted, lookups, session),
        update_in_bulk(session, read_on=reads_again),
    ):
        yield
