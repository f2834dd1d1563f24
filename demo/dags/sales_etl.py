"""
# sales_etl: the hourly load of the finance team

* `cluster.up` and `cluster.down` are **setup and teardown** around the load: clearing a load task brings
  both along.
* `load.per_region` is **dynamically mapped** over what `transform.totals` returns: `eu`, `us`, `apac`.
* `transform.join` and `load.per_region` **fail now and then**; a later try succeeds.
* `load.publish` updates the asset `s3://lake/sales`, which **triggers** `ml_features`.
* Four runs are active at a time, so that clearing several days of it queues.
"""

from __future__ import annotations

import time

from airflow.sdk import Asset, TaskGroup, dag, get_current_context, setup, task, teardown
from demo_common import FINANCE_ACCESS, START_DATE, fail_now_and_then, team_arguments

SALES = Asset("s3://lake/sales")


@dag(
    schedule="0 * * * *",
    start_date=START_DATE,
    catchup=False,
    max_active_runs=4,
    tags=["finance", "etl"],
    default_args=team_arguments("finance"),
    access_control=FINANCE_ACCESS,
    doc_md=__doc__,
)
def sales_etl():
    """Load the sales of an hour."""

    @setup
    def up() -> str:
        time.sleep(1)
        return "sales-cluster"

    @teardown
    def down(cluster: str) -> None:
        print(f"{cluster} is down")

    @task
    def orders() -> list[dict]:
        return [
            {"region": "eu", "currency": "EUR", "amount": 1200},
            {"region": "us", "currency": "USD", "amount": 2100},
            {"region": "apac", "currency": "JPY", "amount": 91000},
        ]

    @task
    def fx_rates() -> dict[str, float]:
        return {"EUR": 1.0, "USD": 0.92, "JPY": 0.0061}

    @task
    def clean(rows: list[dict]) -> list[dict]:
        return [row for row in rows if row["amount"] > 0]

    @task
    def join(rows: list[dict], rates: dict[str, float]) -> list[dict]:
        fail_now_and_then("fx provider answered 503")
        return [
            {"region": row["region"], "eur": round(row["amount"] * rates[row["currency"]], 2)} for row in rows
        ]

    @task
    def totals(rows: list[dict]) -> list[dict]:
        regions = list(dict.fromkeys(row["region"] for row in rows))
        return [
            {"region": region, "eur": sum(row["eur"] for row in rows if row["region"] == region)}
            for region in regions
        ]

    @task(map_index_template="{{ region }}")
    def per_region(total: dict) -> float:
        get_current_context()["region"] = total["region"]
        time.sleep(1)
        fail_now_and_then(f"warehouse refused {total['region']}")
        return total["eur"]

    @task(outlets=[SALES])
    def publish(loaded: list[float]) -> float:
        return sum(loaded)

    @task
    def daily(total: float) -> None:
        print(f"EUR {total:.2f} so far")

    with TaskGroup("extract"):
        raw, rates = orders(), fx_rates()
    with TaskGroup("transform"):
        summed = totals(join(clean(raw), rates))
    with TaskGroup("cluster"):
        cluster_is_up = up()
        cluster_is_down = down(cluster_is_up)
    with TaskGroup("load"):
        loaded = per_region.expand(total=summed)
        published = publish(loaded)
    with TaskGroup("report"):
        daily(published)

    cluster_is_up >> loaded
    published >> cluster_is_down


sales_etl()
