"""
# audit_trail: has no schedule

Each of its runs was started by `finance_close.start_audit`, a **TriggerDagRun**.
"""

from __future__ import annotations

from airflow.sdk import dag, task
from demo_common import FINANCE_ACCESS, START_DATE, team_arguments


@dag(
    schedule=None,
    start_date=START_DATE,
    tags=["finance"],
    default_args=team_arguments("finance"),
    access_control=FINANCE_ACCESS,
    doc_md=__doc__,
)
def audit_trail():
    """Sign what was closed and file it away."""

    @task
    def sign() -> str:
        return "signed"

    @task
    def archive(document: str) -> None:
        print(document)

    archive(sign())


audit_trail()
