"""Whether the installed Airflow and its metadata DB are like those that Safe Clear was tested with."""

from __future__ import annotations

import inspect as _inspect
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Connection, column, inspect, select, table
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.airflow_api.platform.airflow_tables import find_table, task_instance
from safe_clear_plugin.airflow_api.platform.expected_tables import WRITTEN_TABLES, differences, table_names
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.problems import Problem, Refused

log = logging.getLogger(__name__)

CODE = "unsupported_airflow"
"""The code of the refusal, for programs."""
SUPPORTED = " and ".join(f"{major}.{minor}" for major, minor in sorted(WRITTEN_TABLES))
CLEAR_PARAMETERS = ("tis", "session", "dag_run_state", "run_on_latest_version", "prevent_running_task")
"""Of ``clear_task_instances``, in each supported version."""
_MOST_NAMED = 3

_verified: set[tuple[str, str | None]] = set()
"""Versions of Airflow with the revisions of the metadata DB whose tables were found to be as expected."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Why nothing is cleared or undone here."""

    problem: Problem
    has_known_tables: bool
    """Whether only the version is unknown: Airflow's rows can be read, and clears be previewed."""

    def refusal(self) -> Refused:
        """Return the answer to a request to clear, undo, or preview."""
        return Refused(409, self.problem, {"code": CODE})


def find_unsupported() -> Unsupported | None:
    """Return the part that is not supported here. If all is as expected, another call costs nothing."""
    found = _check_code(config.AIRFLOW_VERSION)
    if any(version == config.AIRFLOW_VERSION for version, _ in _verified):
        return found
    if found is not None and not found.has_known_tables:
        return found
    with new_session() as session:
        return check(session.connection())


def check(connection: Connection) -> Unsupported | None:
    """Return the part that is not supported here, after a look at the revision of the metadata DB.

    A statement each time, and a few more when Airflow's tables have been migrated since the last one.
    """
    version = config.AIRFLOW_VERSION
    found = _check_code(version)
    if found is not None and not found.has_known_tables:
        return found
    verified = version, _revision(connection)
    if verified in _verified:
        return found
    _verified.clear()
    if wrong := _database_differences(version, connection):
        unsupported = Unsupported(
            Problem(
                f"The metadata database does not match Airflow {version}: {_listed(wrong)}. "
                "Therefore Safe Clear clears and undoes nothing here.",
                "Run the Airflow version of the database, or `airflow db migrate`. Safe Clear "
                f"supports Airflow {SUPPORTED}; upgrade it for a later one.",
            ),
            has_known_tables=False,
        )
        _warn(str(unsupported.problem))
        return unsupported
    _verified.add(verified)
    return found


def has_known_tables(session: Session) -> bool:
    """Whether Airflow's tables are as Safe Clear knows them, so that their rows can be read."""
    found = check(session.connection())
    return found is None or found.has_known_tables


def require_supported() -> None:
    """Refuse to clear or undo where Safe Clear was not tested.

    :raises Refused: 409 with the code :data:`CODE`
    """
    if found := find_unsupported():
        raise found.refusal()


def require_known_tables() -> None:
    """Refuse to read Airflow's rows where its tables are not the known ones.

    :raises Refused: 409 with the code :data:`CODE`
    """
    found = find_unsupported()
    if found and not found.has_known_tables:
        raise found.refusal()


def forget() -> None:
    """Compare everything again at the next question, as a new process does."""
    _verified.clear()
    _check_code.cache_clear()
    _warn.cache_clear()


@cache
def _check_code(version: str) -> Unsupported | None:
    """Compare the installed Airflow: the version, the models, and the function that clears."""
    wrong = [*differences(_model_columns(), minor_of(version)), *_signature_differences()]
    is_known = minor_of(version) in WRITTEN_TABLES
    if is_known and not wrong:
        return None
    unsupported = Unsupported(_problem(version, wrong, is_known=is_known), has_known_tables=not wrong)
    _warn(str(unsupported.problem))
    return unsupported


def _problem(version: str, wrong: Sequence[str], *, is_known: bool) -> Problem:
    built = f"Airflow {version} differs from the tested versions: {_listed(wrong)}. " if wrong else ""
    tested = "" if is_known else f"Safe Clear was tested with Airflow {SUPPORTED}; this is {version}. "
    return Problem(
        f"{built or tested}Therefore Safe Clear clears and undoes nothing here.",
        f"Upgrade Safe Clear to a version that supports Airflow {version}. "
        "Plans and receipts are shown until then.",
    )


def _listed(wrong: Sequence[str]) -> str:
    more = f" and {len(wrong) - _MOST_NAMED:,} more" if len(wrong) > _MOST_NAMED else ""
    return ", ".join(wrong[:_MOST_NAMED]) + more


@cache
def _warn(sentence: str) -> None:
    """Log a sentence, once in the life of the process."""
    log.warning("%s", sentence)


def minor_of(version: str) -> tuple[int, int]:
    """Return the minor version of ``3.3.1``, ``3.3.1+astro.2`` or ``3.4.0b1``."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _model_columns() -> dict[str, Sequence[str]]:
    tables = {name: find_table(name) for name in table_names()}
    return {name: found.c.keys() for name, found in tables.items() if found is not None}


def _signature_differences() -> list[str]:
    try:
        from airflow.models.taskinstance import clear_task_instances  # noqa: PLC0415 (it may be gone)
    except ImportError:
        return ["clear_task_instances is missing"]
    parameters = tuple(_inspect.signature(clear_task_instances).parameters)
    if parameters == CLEAR_PARAMETERS:
        return []
    return [f"clear_task_instances takes {', '.join(parameters)}"]


def _revision(connection: Connection) -> str | None:
    """Return the revision that Airflow's migrations have left, which names the shape of all its tables."""
    revisions = table("alembic_version", column("version_num"))
    if not _verified and not inspect(connection).has_table(revisions.name):
        return None
    found: str | None = connection.scalar(select(revisions.c.version_num))
    return found


def _database_differences(version: str, connection: Connection) -> list[str]:
    found = inspect(connection).get_multi_columns(
        schema=task_instance.schema, filter_names=table_names(), kind=ObjectKind.ANY
    )
    columns = {name: [one["name"] for one in rows] for (_, name), rows in found.items()}
    return differences(columns, minor_of(version))
