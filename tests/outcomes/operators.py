"""Operators for the drawn DAGs: what they do does not depend on anything outside the DAG file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import BaseOperator, ResumableJobMixin


class Works(BaseOperator):
    """Succeed, in a process of its own."""

    def __init__(self, *, item: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.item = item

    def execute(self, context: Any) -> None:
        """Do nothing."""


class Fails(Works):
    """Fail, for good."""

    def execute(self, context: Any) -> None:
        """Fail."""
        raise RuntimeError("on purpose")


class Branch(BaseBranchOperator):
    """Go on with the same tasks each time."""

    def __init__(self, *, follow: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.follow = follow

    def choose_branch(self, context: Any) -> list[str]:
        """Return the tasks to follow."""
        return list(self.follow)


class Inquires(HITLOperator):
    """Ask a person, as an operator whose class name does not say so."""


class Job(ResumableJobMixin, BaseOperator):
    """Go on with a job that was stored as running or done; start one otherwise. Its result tells which."""

    def __init__(self, *, item: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.item = item
        self.found: Any = None

    def execute(self, context: Any) -> dict[str, Any]:
        """Return the job that was found, and the one that was followed to its end."""
        self.followed: Any = None
        self.execute_resumable(context)
        return {"found": self.found, "followed": self.followed}

    def submit_job(self, context: Any) -> Any:
        """Start a job."""
        return "done_new"

    def get_job_status(self, external_id: Any, context: Any) -> str:
        """Return what the job's id says."""
        self.found = external_id
        return str(external_id).partition("_")[0]

    def is_job_active(self, status: str) -> bool:
        """Whether it still runs."""
        return status == "active"

    def is_job_succeeded(self, status: str) -> bool:
        """Whether it is done."""
        return status == "done"

    def poll_until_complete(self, external_id: Any, context: Any) -> None:
        """Find it done."""
        self.followed = external_id

    def get_job_result(self, external_id: Any, context: Any) -> None:
        """Return nothing."""
        self.followed = external_id
