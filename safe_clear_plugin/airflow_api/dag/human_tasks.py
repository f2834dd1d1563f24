"""Tasks that ask a person: human-in-the-loop operators."""

from __future__ import annotations

from typing import Any

OPERATORS = frozenset({"HITLOperator", "ApprovalOperator", "HITLBranchOperator", "HITLEntryOperator"})
"""The standard provider's; a subclass with another name is known by the questions that it has asked."""


def asks_person(task: Any) -> bool:
    """Whether a task waits for a person when it runs, as far as its serialized class tells."""
    return task.task_type in OPERATORS
