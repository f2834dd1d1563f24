"""
# billing_usage: each day stands on the day before

`meter` and `invoice` have **`depends_on_past`**: a task instance starts only when the same task succeeded
(or was skipped) in the run before. Clear one in the middle, and it runs; clear a week, and the runs go one
after the other.
"""

from __future__ import annotations

from airflow.sdk import dag, task
from demo_common import START_DATE, team_arguments


@dag(
    schedule="15 1 * * *",
    start_date=START_DATE,
    catchup=False,
    tags=["platform", "billing"],
    default_args=team_arguments("platform"),
    doc_md=__doc__,
)
def billing_usage():
    """Meter a day and invoice it."""

    @task(depends_on_past=True)
    def meter() -> int:
        return 4200

    @task(depends_on_past=True)
    def invoice(units: int) -> float:
        return units * 0.01

    @task
    def notify(amount: float) -> None:
        print(f"EUR {amount:.2f}")

    notify(invoice(meter()))


billing_usage()
