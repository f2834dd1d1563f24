"""Addresses of Airflow's own pages, and where people reach Airflow."""

from __future__ import annotations

from urllib.parse import quote, urljoin

from flask import request

from safe_clear_plugin.airflow_api.platform import config


def base_url() -> str:
    """Return where people reach Airflow; a path alone when ``[api] base_url`` is unset."""
    return config.base_url()


def airflow_url(*segments: str) -> str:
    """Return the address of one of Airflow's pages."""
    return "/".join((base_url(), *(quote(segment, safe="") for segment in segments)))


def absolute_url(path: str) -> str:
    """Return the address of one of our pages as people open it."""
    base = base_url()
    return urljoin(base if "://" in base else request.host_url, path)
