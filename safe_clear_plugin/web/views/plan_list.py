"""The list of plans, for programs."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan_filters import PlanFilter
from safe_clear_plugin.services import plans
from safe_clear_plugin.services.plans import ListedPlans
from safe_clear_plugin.web.api.queries import PlansQuery
from safe_clear_plugin.web.api.types import read_moment
from safe_clear_plugin.web.app.identity import caller


def listed_plans(query: PlansQuery, now: datetime, session: Session) -> ListedPlans:
    """Return the plans that the query asks for, of the DAGs that the caller may read."""
    utc = ZoneInfo("UTC")
    wanted = PlanFilter(
        now=now,
        user=query.user or "",
        user_id=caller().id if query.mine else "",
        status=query.status or "",
        task_id=query.task_id or "",
        run_id=query.run_id or "",
        map_index=query.map_index,
        since=read_moment(query.date_from, utc, end=False) if query.date_from else None,
        until=read_moment(query.date_to, utc, end=True) if query.date_to else None,
    )
    return plans.list_plans(
        wanted, query.dag_id or "", caller().user, session, offset=query.offset, limit=query.limit
    )
