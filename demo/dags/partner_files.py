"""
# partner_files: a sensor that defers

`settle` waits two minutes **in the triggerer**, state `deferred`, before the files are read. Start a run by
hand to catch it deferred.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.sensors.time_delta import WaitSensor
from airflow.sdk import dag, task
from demo_common import START_DATE, fail_now_and_then, team_arguments


@dag(
    schedule="0 */6 * * *",
    start_date=START_DATE,
    catchup=False,
    tags=["platform", "ingest"],
    default_args=team_arguments("platform"),
    doc_md=__doc__,
)
def partner_files():
    """Fetch the files of a partner once they have settled."""
    settle = WaitSensor(task_id="settle", time_to_wait=timedelta(minutes=2), deferrable=True)

    @task
    def list_files() -> list[str]:
        return ["a.csv", "b.csv"]

    @task
    def read(files: list[str]) -> int:
        fail_now_and_then("partner's SFTP closed the connection")
        return len(files)

    files = list_files()
    settle >> files
    read(files)


partner_files()
