"""Users of FAB's auth manager with exactly the rights that a test gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.fab.auth_manager.models import Action, Permission, Resource, Role, User
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session

READING = {("can_read", "DAGs"), ("can_read", "DAG Runs"), ("can_read", "Task Instances")}
CLEARING = READING | {("can_edit", "DAGs"), ("can_edit", "DAG Runs"), ("can_edit", "Task Instances")}
AUDITING = {("can_read", "Audit Logs")}
TABS = {("can_read", "Plugins")}
"""What docs/permissions.md says that FAB asks for."""


def make_role(session: Session, name: str, rights: Iterable[tuple[str, str]]) -> Role:
    """Make a role that has these rights and no other."""
    role = _one(session, Role, name=name)
    role.permissions = [
        _one(
            session,
            Permission,
            action=_one(session, Action, name=action),
            resource=_one(session, Resource, name=resource),
        )
        for action, resource in rights
    ]
    session.commit()
    return role


def make_user(session: Session, name: str, rights: Iterable[tuple[str, str]]) -> User:
    """Make a user who has these rights and no other."""
    user = User(
        username=name,
        first_name=name.title(),
        last_name="Test",
        email=f"{name}@example.com",
        active=True,
        roles=[make_role(session, f"{name}'s role", rights)],
    )
    session.add(user)
    session.commit()
    return user


def _one(session: Session, model: Any, **values: Any) -> Any:
    found = session.scalars(select(model).filter_by(**values)).unique().one_or_none()
    if found is None:
        found = model(**values)
        session.add(found)
        session.flush()
    return found
