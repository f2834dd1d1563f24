"""Asking Airflow itself."""

from __future__ import annotations

from collections.abc import Callable

from airflow.models.expandinput import NotFullyPopulated
from fastapi import HTTPException, status
from hypothesis import currently_in_test_context, event

Keys = frozenset[tuple[str, str, int]]

FAILURES = (
    # partial_subset cannot always copy nested task groups.
    ReferenceError,
    # A map index in a run that is not expanded yet.
    NotFullyPopulated,
)


def ask_airflow(question: Callable[[], Keys]) -> Keys | None:
    """Return Airflow's answer: empty where it refuses the request, ``None`` where it fails itself."""
    try:
        return question()
    except HTTPException as refusal:
        if refusal.status_code != status.HTTP_400_BAD_REQUEST:
            raise
        return frozenset()
    except FAILURES as failure:
        if currently_in_test_context():
            event(f"Airflow itself fails: {type(failure).__name__}")
        return None
