"""Safe Clear: see exactly what clearing Airflow task instances will do, then do exactly that."""

from __future__ import annotations

__version__ = "0.1.0"
