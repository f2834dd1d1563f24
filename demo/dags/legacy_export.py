"""
# legacy_export: paused

The platform team **paused** it ten days ago. What is cleared here queues, and starts only when
somebody unpauses it.
"""

from __future__ import annotations

from airflow.sdk import dag, task
from demo_common import START_DATE, team_arguments


@dag(
    schedule="0 5 * * *",
    start_date=START_DATE,
    catchup=False,
    is_paused_upon_creation=True,
    tags=["platform", "legacy"],
    default_args=team_arguments("platform"),
    doc_md=__doc__,
)
def legacy_export():
    """Export a day in the format of the old system."""

    @task
    def export() -> str:
        return "export.xml"

    @task
    def upload(document: str) -> None:
        print(f"uploaded {document}")

    upload(export())


legacy_export()
