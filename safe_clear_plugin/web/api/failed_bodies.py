"""The body of the request that previews failed task instances."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from safe_clear_plugin.core.change_set import MAX_DAGS
from safe_clear_plugin.core.failed_dags import FailedFilter
from safe_clear_plugin.web.api.types import Id, Moment, OneALine, Request, read_moment

UTC = ZoneInfo("UTC")


class FailedPreviewRequest(Request):
    """Preview the failed task instances of some Dags: a plan for one Dag, a change set for several."""

    dag_ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_DAGS), OneALine()] = Field(
        description="The Dags that are ticked."
    )
    failed_from: Moment = Field(description="Both ends of the time range that the page shows.")
    failed_to: Moment

    @property
    def chosen(self) -> tuple[str, ...]:
        """The DAGs, each once."""
        return tuple(dict.fromkeys(self.dag_ids))

    def window(self) -> FailedFilter:
        """Return the time range."""
        return FailedFilter(_moment(self.failed_from, end=False), _moment(self.failed_to, end=True))


def _moment(text: str, *, end: bool) -> datetime:
    return read_moment(text, UTC, end=end)
