"""A search for sensors in the DAGs that a user may read."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.airflow_api.auth.permissions import BaseUser
from safe_clear_plugin.airflow_api.auth.teams import dags_by_id
from safe_clear_plugin.airflow_api.dag.waiting_sensors import WaitingSensor, waiting_sensors
from safe_clear_plugin.core.change_set import MAX_DAGS
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services.change_sets.dag_choice import no_time_for_rights


class SensorSearch:
    """Looks up the sensors of other DAGs that wait for tasks.

    DAGs that the user may not read are ``hidden``; only their number may be told. ``without`` are DAGs to
    leave out. With ``only_clearable``, DAGs that the user may not clear are left out too.
    """

    def __init__(
        self,
        root: str,
        user: BaseUser,
        session: Session,
        *,
        without: Collection[str] = (),
        only_clearable: bool = False,
        limited: bool = True,
    ) -> None:
        self._limited = limited
        self._root, self.user, self._session = root, user, session
        self._without, self._only_clearable = without, only_clearable
        self._taken: set[str] = set()
        self.hidden: set[str] = set()
        self.left_out: set[str] = set()
        """The DAGs to leave out that wait."""
        self.not_clearable: set[str] = set()

    def sensors(self, dag_id: str, task_ids: Collection[str]) -> Sequence[WaitingSensor]:
        """Return the sensors that wait for tasks of a DAG.

        :raises Refused: 422 when there are too many DAGs
        :raises TookTooLong: when there is no time to check the permissions
        """
        found = [one for one in waiting_sensors(dag_id, task_ids, self._session) if one.dag_id != self._root]
        known = self._taken | self.hidden | self.left_out | self.not_clearable
        if new := {one.dag_id for one in found} - known:
            self._ask(new)
        return [one for one in found if one.dag_id in self._taken]

    def _ask(self, dag_ids: Collection[str]) -> None:
        dags = dags_by_id(sorted(dag_ids), self._session)
        readable = permissions.readable_dags(dags, self.user, self._session)
        if not readable.complete:
            raise no_time_for_rights(len(dags))
        seen = {dag.dag_id for dag in readable.dags}
        self.hidden |= set(dag_ids) - seen
        self.left_out |= seen.intersection(self._without)
        seen -= self.left_out
        if self._only_clearable:
            asked = [dag for dag in readable.dags if dag.dag_id in seen]
            clearable = permissions.clearable_dags(asked, self.user, self._session)
            if not clearable.complete:
                raise no_time_for_rights(len(asked))
            self.not_clearable |= seen - clearable.ids
            seen &= clearable.ids
        self._taken |= seen
        if self._limited and len(self._taken) >= MAX_DAGS:
            raise Refused(
                422,
                Problem(
                    f"More than {MAX_DAGS - 1} Dags wait for this plan. A change set can have {MAX_DAGS}.",
                    "Plan some of them by themselves.",
                ),
            )
