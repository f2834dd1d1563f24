"""How much a test session tries.

Safe Clear's rules are the same code everywhere. They are tried at length on SQLite with the newest Airflow,
and elsewhere as far as the database or the Airflow version can make a difference. ``SAFE_CLEAR_TEST_FULL=1``
tries everything everywhere, which takes hours.
"""

from __future__ import annotations

import os
from importlib.metadata import version

FULL = os.environ.get("SAFE_CLEAR_TEST_FULL", "") not in ("", "0")
POSTGRESQL = os.environ.get("SAFE_CLEAR_TEST_BACKEND") == "postgresql"
OLDER_AIRFLOW = version("apache-airflow-core").startswith("3.2.")


def examples(number: int) -> int:
    """Return how many Hypothesis examples to try where ``number`` are wanted of a session at length."""
    if FULL:
        return 5 * number
    return number // 5 if POSTGRESQL or OLDER_AIRFLOW else number
