"""Sessions on the metadata DB, which the web opens for a request and hands to the services."""

from safe_clear_plugin.airflow_api.platform.session import new_session

__all__ = ["new_session"]
