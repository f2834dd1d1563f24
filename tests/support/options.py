"""What a test session runs on and how much it tries, as options of pytest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from typing import TYPE_CHECKING, Any

from tests.support.backends import NAMES
from tests.support.environment import AUTH_MANAGERS

if TYPE_CHECKING:
    import pytest

AIRFLOW_32 = version("apache-airflow-core").startswith("3.2.")


@dataclass
class Options:
    """The options of this session; ``full`` tries everything everywhere, with random seeds."""

    backend: str = "sqlite"
    auth: str = "fab"
    executor: str = "local"
    full: bool = False

    @property
    def postgresql(self) -> bool:
        """Whether the metadata database is PostgreSQL, through either driver."""
        return self.backend.startswith("postgresql")


chosen = Options()
"""Filled in by ``tests/conftest.py`` before any test module is imported."""


def add_options(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("safe clear")
    group.addoption("--backend", choices=NAMES, default=Options.backend, help="the metadata database")
    group.addoption("--auth", choices=tuple(AUTH_MANAGERS), default=Options.auth, help="the auth manager")
    group.addoption("--executor", choices=("local", "celery"), default=Options.executor, help="of live tests")
    group.addoption("--full", action="store_true", help="try everything everywhere, with random seeds")


def read_options(config: pytest.Config) -> Options:
    """Take the values that pytest was given."""
    chosen.backend = config.getoption("--backend")
    chosen.auth = config.getoption("--auth")
    chosen.executor = config.getoption("--executor")
    chosen.full = config.getoption("--full")
    return chosen


SHARED_FOLDERS = ("auth", "cli", "db", "views")
"""Of tests that run more than once: on each database, under each auth manager, on each version of Airflow."""


MANY_CASES = 2
"""Of a test with more cases, PostgreSQL runs a third and SQLite the others. Elsewhere one is many."""


def wanted(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests that this session's database, driver or Airflow can make a difference to."""
    if chosen.full:
        return items
    items = [item for item in items if _is_wanted(item)]
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return [item for of_test in cases.values() for item in _thinned(of_test)]


def _is_wanted(item: pytest.Item) -> bool:
    if item.get_closest_marker("full"):
        return False
    if (alone := item.get_closest_marker("one_database")) and _database(alone) != chosen.backend:
        return False
    if item.path.parent.name not in SHARED_FOLDERS:
        return True
    return all(item.get_closest_marker(name) for name in required_markers())


def _database(one_database: pytest.Mark) -> str:
    return one_database.args[0] if one_database.args else Options.backend


def _thinned(cases: list[pytest.Item]) -> list[pytest.Item]:
    first = cases[0]
    secondary = bool(required_markers())
    if first.path.parent.name not in SHARED_FOLDERS:
        return cases
    if len(cases) <= (1 if secondary and chosen.backend != "postgresql" else MANY_CASES):
        return cases
    if secondary:
        return cases[::3]
    if first.get_closest_marker("backend") and not first.get_closest_marker("one_database"):
        return [case for number, case in enumerate(cases) if number % 3]
    return cases


def required_markers() -> list[str]:
    """Return the markers that a test of a shared folder needs to run in this session."""
    required = []
    if chosen.postgresql:
        required.append("driver" if chosen.backend.endswith("psycopg2") else "backend")
    if AIRFLOW_32:
        required.append("airflow32")
    if chosen.auth != Options.auth:
        required.append("auth_manager")
    return required


def each_in_turn(*values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return as many combinations as the most values, in which each value is once; with ``--full`` all."""
    if chosen.full:
        return list(product(*values))
    longest = max(len(of_one) for of_one in values)
    return [tuple(of_one[number % len(of_one)] for of_one in values) for number in range(longest)]


def every_other(*values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return half of the combinations, in which each value meets others in turn; with ``--full`` all."""
    numbered = product(*(enumerate(of_one) for of_one in values))
    return [
        tuple(value for _, value in one)
        for one in numbered
        if chosen.full or sum(number for number, _ in one) % 2 == 0
    ]


def examples(number: int) -> int:
    """Return how many Hypothesis examples to try where ``number`` are wanted of a change.

    The rules are the same code everywhere. PostgreSQL, psycopg2 and Airflow 3.2 try what can differ there.
    """
    if chosen.full:
        return 25 * number
    if AIRFLOW_32 or chosen.backend.endswith("psycopg2"):
        return max(1, number // 6)
    return max(1, number // 4) if chosen.postgresql else number
