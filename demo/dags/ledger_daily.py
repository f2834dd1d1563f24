"""
# ledger_daily: the daily ETL of the finance team

* `account` is a **mapped task group**: `fetch`, `validate` and `post` for each account that
  `list_accounts` returns. Relatives follow the map index: clearing `account.fetch[2]` with its downstream
  leaves the other accounts alone, up to `close.balance`, which adds them all up.
* `account.validate` **fails now and then**.
* `close.publish` updates the asset `s3://lake/ledger`, which **triggers** `finance_report`.
"""

from __future__ import annotations

from airflow.sdk import Asset, TaskGroup, dag, task, task_group
from demo_common import FINANCE_ACCESS, START_DATE, fail_now_and_then, team_arguments

LEDGER = Asset("s3://lake/ledger")


@dag(
    schedule="0 2 * * *",
    start_date=START_DATE,
    catchup=False,
    max_active_runs=3,
    tags=["finance", "etl"],
    default_args=team_arguments("finance"),
    access_control=FINANCE_ACCESS,
    doc_md=__doc__,
)
def ledger_daily():
    """Post the bookings of a day, account by account."""

    @task
    def list_accounts() -> list[str]:
        return ["cash", "receivables", "payables", "tax"]

    @task_group
    def account(name: str):
        @task
        def fetch(name: str) -> dict:
            return {"account": name, "bookings": 10 * len(name)}

        @task
        def validate(bookings: dict) -> dict:
            fail_now_and_then(f"{bookings['account']} does not balance")
            return bookings

        @task
        def post(bookings: dict) -> int:
            return bookings["bookings"]

        return post(validate(fetch(name)))

    @task
    def balance(posted: list[int]) -> int:
        return sum(posted)

    @task(outlets=[LEDGER])
    def publish(total: int) -> None:
        print(f"{total} bookings posted")

    posted = account.expand(name=list_accounts())
    with TaskGroup("close"):
        publish(balance(posted))


ledger_daily()
