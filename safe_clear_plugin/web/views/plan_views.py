"""The views that show a plan."""

from __future__ import annotations

from flask import Response, jsonify
from flask_appbuilder import expose

from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.plan import PlanStatus
from safe_clear_plugin.services import plans, receipt
from safe_clear_plugin.services.clear import rerun_progress, waves
from safe_clear_plugin.services.session import new_session
from safe_clear_plugin.web.api import serializers, step_json
from safe_clear_plugin.web.api.queries import (
    FindingQuery,
    PageQuery,
    PlanQuery,
    RowsPageQuery,
    SortedRowsQuery,
)
from safe_clear_plugin.web.api.request_reader import read_query
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.app import authorization
from safe_clear_plugin.web.app.authorization import readable_plan
from safe_clear_plugin.web.grid import grid_page
from safe_clear_plugin.web.plan import csv_export, finding_page, plan_page, table_page


class PlanViews:
    """A plan, its grid, its task instances, its findings and its progress."""

    @expose("/plans/<plan_id>")
    def plan(self, plan_id: str) -> str:
        """The page for the plan's status: to confirm it, its progress, the changes since, or its receipt."""
        plan, query = readable_plan(plan_id), read_query(PlanQuery, page=True)
        with new_session() as session:
            return plan_page.plan_page(plan, query, may_clear=authorization.may_clear(plan), session=session)

    @expose("/plans/<plan_id>.json")
    def plan_json(self, plan_id: str) -> Response:
        """The plan with a page of its dag runs, for programs."""
        plan, query = readable_plan(plan_id), read_query(PageQuery)
        with new_session() as session:
            return jsonify(serializers.plan_json(plan, utcnow(), session, query))

    @expose("/plans/<plan_id>/task_instances.json")
    def task_instances(self, plan_id: str) -> Response:
        """A page of the plan's task instances, for programs."""
        plan, query = readable_plan(plan_id), read_query(RowsPageQuery)
        wanted = table_page.row_filter(query)
        with new_session() as session:
            rows = plans.task_instances(plan, wanted, session, offset=query.offset, limit=query.limit)
            total = plans.count_task_instances(plan, wanted, session)
        return jsonify(total=total, items=[serializers.task_instance_json(row) for row in rows])

    @expose("/plans/<plan_id>/task_instances.csv")
    def task_instances_csv(self, plan_id: str) -> Response:
        """The plan's task instances that a filter lets through, as a file."""
        return csv_export.download(readable_plan(plan_id), read_query(SortedRowsQuery))

    @expose("/plans/<plan_id>/grid")
    def grid(self, plan_id: str) -> str:
        """A part of the grid, to take the place of the one on the page."""
        plan, query = readable_plan(plan_id), read_query(PlanQuery, page=True)
        with new_session() as session:
            return grid_page.page(plan, query, session)

    @expose("/plans/<plan_id>/rows")
    def rows(self, plan_id: str) -> str:
        """A page of the table, to take the place of the one on the page."""
        plan, query = readable_plan(plan_id), read_query(PlanQuery, page=True)
        with new_session() as session:
            tickable = authorization.may_clear(plan) and not plan.is_expired(utcnow())
            return table_page.page(plan, query, session, tickable=tickable)

    @expose("/plans/<plan_id>/findings/<code>")
    def finding(self, plan_id: str, code: str) -> str:
        """A finding of the plan, and the task instances behind it."""
        plan, query = readable_plan(plan_id), read_query(FindingQuery, page=True)
        with new_session() as session:
            return finding_page.finding_page(plan, code, query, session)

    @expose("/plans/<plan_id>/findings/<code>.json")
    def finding_json(self, plan_id: str, code: str) -> Response:
        """The same, for programs."""
        plan, query = readable_plan(plan_id), read_query(PageQuery)
        with new_session() as session:
            return jsonify(finding_page.rows_json(plan, code, query, session))

    @expose("/plans/<plan_id>/progress.json")
    def progress(self, plan_id: str) -> Response:
        """Return the progress of clear and undo, and the states of the cleared task instances now."""
        plan, now = readable_plan(plan_id), utcnow()
        read_query(Empty)
        with new_session() as session:
            driver = rerun_progress.driver_state(plan, session)
            is_under_way = plan.status == PlanStatus.APPLYING or plan.is_undoing
            counted = not is_under_way or driver.is_missing
            states = rerun_progress.progress(plan, now, session) if counted else None
            undo = receipt.undo_progress(plan, session)
            found = waves.wave_progress(plan, session)
        return jsonify(step_json.progress_json(plan, undo, states, driver, found, now=now))
