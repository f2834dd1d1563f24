"""The three people of the demo, in Flask-AppBuilder's user tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride

# The same name stands in dags/demo_common.py, where the finance DAGs grant this role access to themselves.
FINANCE_ROLE = "finance_operator"


@dataclass(frozen=True)
class DemoUser:
    """A user whose password is the user name."""

    username: str
    role: str
    may: str


USERS = (
    DemoUser("admin", "Admin", "can do everything"),
    DemoUser("operator", FINANCE_ROLE, "sees and clears the finance team's Dags only"),
    DemoUser("viewer", "Viewer", "sees everything, clears nothing"),
)


def create_users() -> bool:
    """Create roles and users unless there are users already; return whether it did."""
    # Saves the seconds that it takes to make a Flask app.
    from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager
    from airflow.utils.session import create_session
    from werkzeug.security import generate_password_hash

    with create_session() as session:
        security_manager = ApplessAirflowSecurityManager(session=session)
        if security_manager.get_all_users():
            return False
        security_manager.sync_roles()
        _create_roles(security_manager)
        for user in USERS:
            security_manager.add_user(
                username=user.username,
                first_name=user.username.capitalize(),
                last_name="Demo",
                email=f"{user.username}@example.com",
                role=security_manager.find_role(user.role),
                hashed_password=generate_password_hash(user.username),
            )
        return True


def _create_roles(security_manager: FabAirflowSecurityManagerOverride) -> None:
    """Let Viewer see plugins, and make a role like it that sees only the DAGs which name it.

    Clearing needs the right to edit dag runs and task instances in general, and a given DAG in particular.
    """
    from airflow.providers.fab.www.security import permissions as fab

    viewer = [p for p in security_manager.VIEWER_PERMISSIONS if p != (fab.ACTION_CAN_READ, fab.RESOURCE_DAG)]
    operate = [
        (action, resource)
        for action in (fab.ACTION_CAN_CREATE, fab.ACTION_CAN_EDIT)
        for resource in (fab.RESOURCE_DAG_RUN, fab.RESOURCE_TASK_INSTANCE)
    ]
    # Airflow's UI shows the tabs of plugins to those who may read Plugins, which FAB's Viewer may not.
    see_tabs = [(fab.ACTION_CAN_READ, fab.RESOURCE_PLUGIN)]
    role = security_manager.add_role(FINANCE_ROLE)
    grants = [(role, viewer + operate + see_tabs), (security_manager.find_role("Viewer"), see_tabs)]
    for grantee, permissions in grants:
        for action, resource in permissions:
            permission = security_manager.create_permission(action, resource)
            security_manager.add_permission_to_role(grantee, permission)
