"""Why a batch of a clear is rolled back."""

from __future__ import annotations

from safe_clear_plugin.core.drift import DriftedRow
from safe_clear_plugin.core.mismatch import Mismatch
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.stop_reason import StopKind


class DriftError(Exception):
    """The database differs from the preview: the first rows that do, how many there are, and the cause."""

    def __init__(self, rows: list[DriftedRow], total: int, cause: str) -> None:
        super().__init__(f"{total} drifted")
        self.rows = rows
        self.total = total
        self.cause = cause


class MismatchError(Exception):
    """The clear did something else than the plan said, and was rolled back."""

    def __init__(self, found: list[Mismatch]) -> None:
        super().__init__(f"{len(found)} not as planned")
        self.found = found


class VersionCame(MismatchError):
    """The same, and a DAG version came after the batch had been compared: it is worth another try."""


class AirflowChanged(Exception):
    """Airflow, or its database, is no longer the one that the clear began under."""

    def __init__(self, problem: Problem, kind: StopKind) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.kind = kind
