"""Whether a DAG gets a new version at each parse, for example because its file reads the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from airflow.configuration import conf
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.serialized_dag import SerializedDagModel
from sqlalchemy import select
from sqlalchemy.orm import Session

VERSIONS = 4
"""The number of last versions that must have come at a parse each."""

SHORTEST = timedelta(minutes=5)
"""Within what time a parse follows another, however often files are parsed: there may be many."""


@dataclass(frozen=True, slots=True)
class Written:
    """When a DAG version was made, and when its content was last written."""

    number: int
    made: datetime
    last_written: datetime


def gets_version_at_each_parse(dag_id: str, session: Session) -> int | None:
    """Return the number of the latest version of a DAG that gets one at each parse; else ``None``.

    Airflow rewrites the latest version in place until a task instance refers to it, and only then makes the
    next one (``SerializedDagModel.write_dag``). So versions do not come as often as parses. But each one is
    still written at the last parse before the next one is made; one that somebody deployed has long been as
    it is by then.
    """
    query = (
        select(DagVersion.version_number, DagVersion.created_at, SerializedDagModel.last_updated)
        .join(SerializedDagModel, SerializedDagModel.dag_version_id == DagVersion.id)
        .where(DagVersion.dag_id == dag_id)
        .order_by(DagVersion.version_number.desc())
        .limit(VERSIONS)
    )
    found = [Written(*row) for row in session.execute(query)]
    dag = session.get(DagModel, dag_id)
    parsed = dag.last_parsed_time if dag else None
    interval: int = conf.getint("dag_processor", "min_file_process_interval")
    longest = max(SHORTEST, 3 * timedelta(seconds=interval))
    return found[0].number if are_of_each_parse(found, parsed, longest) else None


def are_of_each_parse(latest_first: Sequence[Written], parsed: datetime | None, longest: timedelta) -> bool:
    """Whether each version was written no more than ``longest`` before the next came, and the last parse."""
    if len(latest_first) < VERSIONS or parsed is None:
        return False
    ends = [parsed, *(newer.made for newer, _ in pairwise(latest_first))]
    return all(end - one.last_written <= longest for one, end in zip(latest_first, ends, strict=True))
