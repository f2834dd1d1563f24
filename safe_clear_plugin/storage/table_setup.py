"""Makes and upgrades Safe Clear's tables from a running api-server, where no migration does.

Some managed services run ``airflow db migrate`` before packages are installed, so the DB manager of a plugin
never runs there (Amazon MWAA is one).
"""

from __future__ import annotations

import logging

from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

from safe_clear_plugin.airflow_api.clear.locks import lock_migrations
from safe_clear_plugin.airflow_api.platform.database import warn_if_unsupported
from safe_clear_plugin.airflow_api.platform.database_errors import kind_of
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.storage.db_manager import SafeClearDBManager
from safe_clear_plugin.storage.plans.plan_reader import tables_exist

log = logging.getLogger(__name__)

ATTEMPTS = 5


def set_up_tables() -> None:
    """Make the tables, or upgrade them, unless they are there already.

    Several api-servers may come here at once: they take turns. On SQLite, whose lock they wait for a few
    seconds only, a server that gets no lock in that time tries again. A database that Safe Clear does not
    work on is left alone, and the log says so.
    """
    if warn_if_unsupported():
        return
    attempts = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random(0.2, 1),
        reraise=True,
    )
    attempts(_set_up)


def are_current(session: Session) -> bool:
    """Whether the tables are those of this version of Safe Clear, and of the Airflow that is installed."""
    return tables_exist(session) and SafeClearDBManager(session).check_migration()


def _may_pass(error: BaseException) -> bool:
    """Whether another api-server may have been in the way; a right that is missing stays so."""
    if not isinstance(error, OperationalError | ProgrammingError):
        return False
    return kind_of(error) != "database_forbidden"


def _set_up() -> None:
    with new_session() as session:
        if are_current(session):
            return
        # The session's own transaction would hold what the migrations alter.
        session.rollback()
        with lock_migrations(session):
            if not are_current(session):
                session.rollback()
                log.warning("Safe Clear makes its tables, as `[safe_clear] create_tables` says.")
                SafeClearDBManager(session).initdb()
