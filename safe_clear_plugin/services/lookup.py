"""Looks up a stored object by the id in a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.problems import Refused

Found = TypeVar("Found")


def find_by_id(
    given: str, read: Callable[[UUID, Session], Found | None], not_found: Callable[[], Refused]
) -> Found:
    """Return the object that is stored with the id, in its current state.

    :raises Refused: from ``not_found``, if there is no such object, or ``given`` is no id
    """
    try:
        key = UUID(hex=given)
    except ValueError:
        raise not_found() from None
    with new_session() as session:
        found = read(key, session)
    if found is None:
        raise not_found()
    return found
