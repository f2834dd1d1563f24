"""The process in which something is measured: Airflow's API server app, with a user who is logged in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from airflow import settings
from airflow.api_fastapi.app import create_app
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from sqlalchemy import text

from bench.asgi import Client
from tests.support import auth

USER = "admin"


@dataclass(frozen=True, slots=True)
class Action:
    """Work to be measured, which returns the bytes sent out, and what it was about, asked afterwards."""

    run: Callable[[], int]
    count: Callable[[], int]


class Stage:
    """Airflow's app with its plugins, as the api-server makes it, and ways to ask it."""

    def __init__(self) -> None:
        """Build the app; it is the same for every measurement."""
        self.app = create_app(apps="core")
        token = auth.token(USER)
        self.program = Client(self.app, {"authorization": f"Bearer {token}"})
        self.browser = Client(self.app, {"cookie": f"{COOKIE_NAME_JWT_TOKEN}={token}", "accept": "text/html"})

    @cached_property
    def dag_bag(self) -> Any:
        """The app's own collection of DAGs."""
        return self.app.state.dag_bag

    def scalar(self, query: str, **values: Any) -> Any:
        """Ask the database for one value, outside of any measurement."""
        with settings.engine.connect() as connection:
            return connection.execute(text(query), values).scalar()
