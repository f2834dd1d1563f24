"""Users of the metadata database under test, and requests made in their name.

``admin`` may do everything, ``operator`` may read and clear the DAGs of team A only, ``viewer`` may read
every DAG and ``nobody`` has no role. Under SimpleAuthManager, which knows no permissions per DAG,
``operator`` may clear them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.providers.fab.auth_manager.models import User
from airflow.utils.session import create_session
from sqlalchemy import select

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

TEAM_A_ROLE = "team_a"
TEAM_B_ROLE = "team_b"
# The `access_control` of a team A DAG: FAB gives the role its permissions when the DAG is stored.
TEAM_A = {TEAM_A_ROLE: {"DAGs": {"can_read", "can_edit"}}}
TEAM_B = {TEAM_B_ROLE: {"DAGs": {"can_read", "can_edit"}}}
ROLES = {"admin": ["Admin"], "operator": [TEAM_A_ROLE], "viewer": ["Viewer"], "nobody": []}


def create_fab_users(app: Flask) -> None:
    """Create the users, with the roles that FAB's own code makes, in the database of ``app``."""
    with app.app_context():
        security = app.appbuilder.sm  # type: ignore[attr-defined]
        security.sync_roles()
        for role in (TEAM_A_ROLE, TEAM_B_ROLE):
            _create_team_role(security, role)
        for name, roles in ROLES.items():
            user = security.add_user(
                username=name,
                first_name=name.title(),
                last_name="Test",
                email=f"{name}@example.com",
                role=[security.find_role(role) for role in roles],
                password=name,
            )
            if not user:
                raise RuntimeError(f"FAB did not create the user {name}")


def _create_team_role(security: Any, name: str) -> None:
    """Create a role that may do what a Viewer may, and clear, but has no DAG until one grants it access."""
    role = security.add_role(name)
    viewer = security.find_role("Viewer")
    for permission in viewer.permissions:
        if permission.resource.name != "DAGs":
            security.add_permission_to_role(role, permission)
    for action in ("can_create", "can_edit"):
        for resource in ("DAG Runs", "Task Instances"):
            security.add_permission_to_role(role, security.create_permission(action, resource))


def user(name: str) -> Any:
    """Return the auth manager's user called ``name``."""
    if isinstance(get_auth_manager(), SimpleAuthManager):
        return next(user for user in SimpleAuthManager.get_users() if user.username == name)
    with create_session(scoped=False) as session:
        found = session.scalars(select(User).where(User.username == name)).unique().one()
        session.expunge_all()
    return found


def token(name: str) -> str:
    """Return a JWT as the login gives it to the user called ``name``."""
    return get_auth_manager().generate_jwt(user(name))


def login(client: FlaskClient, name: str) -> FlaskClient:
    """Put the user's token into the cookie that Airflow's web UI keeps it in."""
    client.set_cookie(COOKIE_NAME_JWT_TOKEN, token(name))
    return client


def logout(client: FlaskClient) -> FlaskClient:
    """Remove the cookie."""
    client.delete_cookie(COOKIE_NAME_JWT_TOKEN)
    return client


def bearer(name: str) -> dict[str, str]:
    """Return the headers with which a program acts as the user called ``name``."""
    return {"Authorization": f"Bearer {token(name)}"}
