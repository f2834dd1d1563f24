"""What a test session runs on and how much it tries, as options of pytest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    cases: dict[str, list[pytest.Item]] = {}
    for item in filter(_is_wanted, items):
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    tests = list(cases.values())
    tests = (
        [_thinned(of_test) for of_test in tests] if required_markers() else list(_beside_postgresql(tests))
    )
    return [item for of_test in tests for item in of_test]


def _is_wanted(item: pytest.Item) -> bool:
    if item.get_closest_marker("full"):
        return False
    if (alone := item.get_closest_marker("one_database")) and _database(alone) != chosen.backend:
        return False
    return not _is_shared(item) or all(item.get_closest_marker(name) for name in required_markers())


def _is_shared(item: pytest.Item) -> bool:
    return item.path.parent.name in SHARED_FOLDERS


def _database(one_database: pytest.Mark) -> str:
    return one_database.args[0] if one_database.args else Options.backend


def _thinned(cases: list[pytest.Item]) -> list[pytest.Item]:
    many = MANY_CASES if chosen.backend == "postgresql" else 1
    return cases[::3] if _is_shared(cases[0]) and len(cases) > many else cases


def _beside_postgresql(tests: Iterable[list[pytest.Item]]) -> Iterator[list[pytest.Item]]:
    """Yield the cases of each test that PostgreSQL does not run, and every third of its other tests."""
    passed = 0
    for cases in tests:
        if not _runs_on_postgresql(cases[0]) or cases[0].get_closest_marker("sqlite"):
            yield cases
        elif len(cases) > MANY_CASES:
            yield [case for number, case in enumerate(cases) if number % 3]
        else:
            passed += 1
            yield cases if passed % 3 == 0 else []


def _runs_on_postgresql(item: pytest.Item) -> bool:
    markers = bool(item.get_closest_marker("backend")), not item.get_closest_marker("one_database")
    return _is_shared(item) and all(markers)


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
