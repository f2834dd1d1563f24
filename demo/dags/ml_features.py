"""
# ml_features: the platform team follows the sales

It is scheduled by the **asset** `s3://lake/sales`: whenever `sales_etl.load.publish` is done again, this runs
again. Its runs have **no logical date**.
"""

from __future__ import annotations

from airflow.sdk import Asset, dag, task
from demo_common import START_DATE, team_arguments


@dag(
    schedule=[Asset("s3://lake/sales")],
    start_date=START_DATE,
    max_active_runs=2,
    tags=["platform", "ml"],
    default_args=team_arguments("platform"),
    doc_md=__doc__,
)
def ml_features():
    """Compute features and store them."""

    @task
    def features() -> list[float]:
        return [0.12, 0.48, 0.33]

    @task
    def store(values: list[float]) -> int:
        return len(values)

    store(features())


ml_features()
