"""
# warehouse_maintenance: something that is running

`vacuum` takes **five minutes**, once an hour, one run at a time: the task to be caught running. Clearing it
meanwhile would terminate it.
"""

from __future__ import annotations

import time

from airflow.sdk import dag, task
from demo_common import START_DATE, team_arguments


@dag(
    schedule="30 * * * *",
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    tags=["platform"],
    default_args=team_arguments("platform"),
    doc_md=__doc__,
)
def warehouse_maintenance():
    """Vacuum the warehouse and refresh its statistics."""

    @task
    def vacuum() -> None:
        for minute in range(5):
            print(f"vacuuming, minute {minute + 1} of 5")
            time.sleep(60)

    @task
    def analyze() -> None:
        print("statistics are fresh")

    vacuum() >> analyze()


warehouse_maintenance()
