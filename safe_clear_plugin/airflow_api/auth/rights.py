"""The missing permissions of a user, in the auth manager's words; ``permissions`` asks what is allowed."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.providers.fab.www.security import permissions as fab

TASK_INSTANCE_RESOURCES = (fab.RESOURCE_DAG_RUN, fab.RESOURCE_TASK_INSTANCE)
"""The rights that FAB's auth manager requires for ``DagAccessEntity.TASK_INSTANCE``: both."""


def to_read(dag_id: str, user: BaseUser) -> str:
    """Return what the user lacks to see the dag runs and task instances of a DAG."""
    if lacking := _lacking_in_fab((fab.ACTION_CAN_READ,), dag_id, user):
        return lacking
    return "permission to see the task instances of this Dag"


def to_clear(dag_id: str, user: BaseUser) -> str:
    """Return what the user lacks to clear task instances of a DAG; of any DAG when no id is given."""
    actions = (fab.ACTION_CAN_EDIT,) if dag_id else (fab.ACTION_CAN_READ, fab.ACTION_CAN_EDIT)
    if lacking := _lacking_in_fab(actions, dag_id, user):
        return lacking
    if isinstance(user, SimpleAuthManagerUser):
        return "the role `user`, `op` or `admin`"
    return f"permission to edit the task instances of {'this' if dag_id else 'a'} Dag"


def to_pause(user: BaseUser) -> str:
    """Return the permission that the user lacks to pause a DAG."""
    if isinstance(user, SimpleAuthManagerUser):
        return "the role `user`, `op` or `admin`"
    return "permission to edit this Dag"


def _lacking_in_fab(actions: tuple[str, ...], dag_id: str, user: BaseUser) -> str:
    """Return what a user of FAB's auth manager lacks; nothing where they lack nothing, and for others."""
    perms = getattr(user, "perms", None)
    if perms is None:
        return ""
    lacking = [
        f"`{action}` on `{resource}`"
        for action in actions
        for resource in TASK_INSTANCE_RESOURCES
        if (action, resource) not in perms
    ]
    one = fab.resource_name(dag_id, fab.RESOURCE_DAG) if dag_id else ""
    lacking += [
        f"`{action}` on `{one or 'DAG:…'}` or on `{fab.RESOURCE_DAG}`"
        for action in actions
        if not {(action, fab.RESOURCE_DAG), (action, one)} & set(perms)
    ]
    *first, last = lacking or [""]
    return f"{', '.join(first)} and {last}" if first else last
