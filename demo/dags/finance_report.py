"""
# finance_report: runs when the ledger was published

It is scheduled by the **asset** `s3://lake/ledger`, so its runs have **no logical date** and no range of
logical dates catches them: select them by the time they ran after, or by name.
"""

from __future__ import annotations

from airflow.sdk import Asset, dag, task
from demo_common import FINANCE_ACCESS, START_DATE, team_arguments


@dag(
    schedule=[Asset("s3://lake/ledger")],
    start_date=START_DATE,
    tags=["finance", "report"],
    default_args=team_arguments("finance"),
    access_control=FINANCE_ACCESS,
    doc_md=__doc__,
)
def finance_report():
    """Render the report of a day and send it."""

    @task
    def render() -> str:
        return "report.pdf"

    @task
    def send(document: str) -> None:
        print(f"sent {document}")

    send(render())


finance_report()
