"""Partition dates: on which clock Airflow reads them."""

from __future__ import annotations

from datetime import datetime, timezone, tzinfo
from typing import Any

from airflow.models.dagrun import DagRun

HAS_PARTITION_DATES: bool = hasattr(DagRun, "apply_partition_date_window")
"""Whether Airflow knows ranges of partition dates (3.3); 3.2 has the column only."""


def partition_moment(dag: Any, wall: datetime) -> datetime:
    """Return the moment of a reading of the timetable's clock (``DagRun.apply_partition_date_window``).

    :raises OverflowError: when it lies at the rim of the calendar
    """
    moment: datetime = dag.timetable.localize_partition_datetime(wall)
    return moment.astimezone(timezone.utc)


def partition_zone(dag: Any) -> tzinfo:
    """Return the zone of the timetable's clock; a timetable without one has UTC."""
    zone = getattr(dag.timetable, "_timezone", None)
    return zone if isinstance(zone, tzinfo) else timezone.utc


def is_partitioned(dag: Any) -> bool:
    """Whether the DAG's timetable gives its runs partitions."""
    return bool(getattr(dag.timetable, "partitioned", False))
