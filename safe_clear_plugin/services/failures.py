"""Errors as users see them, and as the log has them: no other module writes an exception's text.

The text of an error of the database names hosts, users, files and statements. So the text goes to the log of
the api-server only, under an id that the page, the JSON and the stored reason have too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy.exc import SQLAlchemyError

from safe_clear_plugin.airflow_api.platform import database_errors
from safe_clear_plugin.core.problems import Problem, Refused

log = logging.getLogger(__name__)

INTERNAL_ERROR = "internal_error"
WORDS: Mapping[str, tuple[str, str]] = {
    "database_unreachable": (
        "Can't reach the metadata database.",
        "Try again when it is back.",
    ),
    "database_busy": (
        "The metadata database is too busy: this step got no lock or no connection.",
        "Try again.",
    ),
    "statement_timeout": (
        "The metadata database stopped a statement that took too long.",
        "Try again. If this keeps happening, ask your Airflow administrator to analyze the tables.",
    ),
    "tables_outdated": (
        "A table or a column is missing in the metadata database.",
        "Run `airflow db migrate`.",
    ),
    "database_forbidden": (
        "Airflow's database role has no permission for a table or a schema.",
        "Ask your Airflow administrator to grant it: docs/deployments.md lists the permissions.",
    ),
    "database_read_only": (
        "The metadata database is read-only now.",
        "Ask your Airflow administrator to make it writable.",
    ),
    "database_full": (
        "The metadata database has no disk space or memory left.",
        "Ask your Airflow administrator to free some.",
    ),
    "database_error": (
        "A statement failed in the metadata database.",
        "Try again. If this keeps happening, ask your Airflow administrator to run `airflow db migrate`.",
    ),
    INTERNAL_ERROR: (
        "Something went wrong inside Safe Clear.",
        "Try again. If this keeps happening, ask your Airflow administrator.",
    ),
}
"""By code: what happened, and what to do about it."""

_KNOWN_AS = "_safe_clear_failure"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as people are told of it; its traceback is in the log under ``error_id``."""

    code: str
    error_id: str
    reason: str
    remedy: str

    @property
    def details(self) -> dict[str, str]:
        """The fields that the JSON and the stored reason have in addition to the texts."""
        return {"code": self.code, "error_id": self.error_id}

    def to_json(self) -> dict[str, Any]:
        """Return it as a plan keeps it."""
        return {**self.details, "reason": self.reason, "remedy": self.remedy}


def explain(error: BaseException, doing: str, outcome: str = "") -> Failure:
    """Log an error with its traceback and return the text for users.

    ``doing`` names the current work, for the log; ``outcome`` is a sentence on its result. The same
    error is logged once, however many layers it passes, and keeps its id.
    """
    error_id = getattr(error, _KNOWN_AS, None)
    if error_id is None:
        error_id = uuid4().hex[:12]
        setattr(error, _KNOWN_AS, error_id)
        log.error("Error %s, while %s", error_id, doing, exc_info=error)
    code = database_errors.kind_of(error) if isinstance(error, SQLAlchemyError) else INTERNAL_ERROR
    reason, remedy = WORDS[code]
    where = f"The api-server's log has the details under {error_id}."
    return Failure(code, error_id, reason, " ".join(filter(None, (outcome, remedy, where))))


def refused(error: BaseException, doing: str, outcome: str = "") -> Refused:
    """Return the refusal that answers a request which an error ended: 503 of the database, else 500."""
    failure = explain(error, doing, outcome)
    status = 500 if failure.code == INTERNAL_ERROR else 503
    return Refused(status, Problem(failure.reason, failure.remedy), failure.details)
