"""Who is measured at what, and how large."""

from __future__ import annotations

WAYS: dict[str, tuple[str, ...]] = {
    "preview": ("ours", "airflow_rest", "airflow_dag_clear", "limit", "limit_aggregate"),
    "apply": ("ours", "ours_http", "airflow_rest", "airflow_one_call", "limit"),
    "undo": ("ours", "limit"),
    "drift": ("ours",),
    "history": ("ours",),
}
"""In this order, one after the other, so that all meet the same machine."""

BY_DRIVER = ("preview", "apply", "undo")
"""What is measured with each driver; the rest only with the first one."""

BESIDE = ("ours_http", "limit_aggregate")
"""Measured for comparison only, and marked so in the JSON."""

AIRFLOWS = ("airflow_rest", "airflow_dag_clear", "airflow_one_call")

LABELS = {
    "ours": "Safe Clear",
    "ours_http": "Safe Clear, by HTTP",
    "airflow_rest": "Airflow, REST",
    "airflow_dag_clear": "Airflow, SerializedDAG.clear",
    "airflow_one_call": "Airflow, one call",
    "limit": "limit: set-based SQL",
    "limit_aggregate": "limit: an aggregate",
    "ours_waves": "Safe Clear, two runs at a time",
    "nothing": "nothing is cleared",
    "no_driver": "nothing, and no driver",
}

TITLES = {
    "preview": "Preview",
    "apply": "Apply",
    "undo": "Undo",
    "drift": "Has anything moved?",
    "history": "The page of 10,000 plans",
}
