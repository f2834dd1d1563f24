"""Registers Safe Clear with Airflow: the view, and its places in the React UI."""

from __future__ import annotations

from typing import Any, ClassVar

import airflow
from airflow.plugins_manager import AirflowPlugin

from safe_clear_plugin.airflow_api.auth.asgi_scope import ScopeMiddleware
from safe_clear_plugin.airflow_api.driver_middleware import LifespanMiddleware, Stoppable

NAME = "Safe Clear"
PLACES = {
    "nav": "",
    "dag": "tab?dag_id={DAG_ID}",
    "dag_run": "tab?dag_id={DAG_ID}&run_id={RUN_ID}",
    "task": "tab?dag_id={DAG_ID}&task_id={TASK_ID}",
    "task_instance": "tab?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
}
"""The place of the page in Airflow's UI, and the address that it opens; the UI replaces the braces."""


class _Views:
    """The Flask-AppBuilder views, imported when Airflow's web server first asks for them.

    Every Airflow component loads plugins; only the web server needs Flask.
    """

    def __get__(self, instance: object, owner: type | None = None) -> list[dict[str, Any]]:
        try:
            from safe_clear_plugin.web.views.safe_clear_view import SafeClearView  # noqa: PLC0415
        except (ImportError, AttributeError, KeyError) as error:
            # A later Airflow may have moved a name; its web server starts all the same.
            from safe_clear_plugin.web.views.unavailable import UnavailableView  # noqa: PLC0415

            return [{"view": UnavailableView(error, airflow.__version__)}]
        return [{"view": SafeClearView()}]


class _ExternalViews:
    """The page's places in the React UI, made once the base URL is known.

    The same list each time: Airflow takes colliding routes out of it.
    """

    def __init__(self) -> None:
        self._views: list[dict[str, Any]] | None = None

    def __get__(self, instance: object, owner: type | None = None) -> list[dict[str, Any]]:
        if self._views is None:
            from safe_clear_plugin.airflow_api.platform.config import base_url  # noqa: PLC0415

            page = f"{base_url()}/pluginsv2/safe_clear/"
            self._views = [
                {
                    "name": NAME,
                    "href": page + query,
                    "destination": place,
                    "url_route": "safe_clear" if place == "nav" else f"safe_clear_{place}",
                    **({"category": "browse"} if place == "nav" else {}),
                }
                for place, query in PLACES.items()
            ]
        return self._views


def _start_driver() -> Stoppable | None:
    """Start the driver, imported in the web server alone."""
    from safe_clear_plugin.services.driver.thread import start_thread  # noqa: PLC0415

    return start_thread()


class SafeClearPlugin(AirflowPlugin):
    """The pages of Safe Clear, and their places in Airflow's UI."""

    name = "safe_clear"
    appbuilder_views: ClassVar[Any] = _Views()
    external_views: ClassVar[Any] = _ExternalViews()
    fastapi_root_middlewares: ClassVar[Any] = [
        {
            "name": "Safe Clear",
            "middleware": ScopeMiddleware,
            "kwargs": {"path": "/pluginsv2/safe_clear"},
        },
        {
            "name": "Safe Clear's driver",
            "middleware": LifespanMiddleware,
            "kwargs": {"start": _start_driver},
        },
    ]
