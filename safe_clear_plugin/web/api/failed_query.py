"""The query for what failed, with the time that it covers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from safe_clear_plugin.core import time_window
from safe_clear_plugin.core.dates import NoSuchDay
from safe_clear_plugin.core.failed_dags import WEEK, FailedFilter, FailedState
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.regex import Regex, RegexError
from safe_clear_plugin.web.api.types import (
    Date,
    Maybe,
    Names,
    Offset,
    Request,
    TaskRegex,
    Timezone,
)


class FailedQuery(Request):
    """A filter for failures. A field that is left out does not narrow; none can be given empty."""

    timezone: Timezone = Field("UTC", description="The time zone of times that name none.")
    start: Maybe[Date] = Field(
        None,
        alias="from",
        description="Task instances that ended at this time or later: a date, a date and time, a time of day "
        "(`02:00`, the last one), or how long ago (`-90m`, `-12h`, `-7d`). Left out: a day before `to`.",
    )
    end: Maybe[Date] = Field(
        None,
        alias="to",
        description="At this time or before; a time of day is the first one after `from`. Left out: now.",
    )
    dag_id_regex: Maybe[TaskRegex] = Field(None, description="RE2, searched in the DAG id.")
    tag: Maybe[Names] = Field(None, description="Tags of DAGs: one of them is enough.")
    owner: Maybe[Names] = Field(None, description="Owners of DAGs: one of them is enough.")
    state: Maybe[FailedState] = Field(
        None,
        description="Only DAGs with such a task instance; `failed_run`: with a dag run that failed itself.",
    )
    offset: Offset = 0
    limit: Annotated[int, Field(ge=1, le=200, description="DAGs to answer with.")] = 50

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return both ends of the time; all that is wrong with the fields is said at once.

        :raises Invalid: with what is wrong, at its field
        """
        zone = ZoneInfo(self.timezone)
        problems = [
            Problem(problem, "", name)
            for name, text in (("from", self.start), ("to", self.end))
            if text is not None and (problem := _unreadable(text, zone, now))
        ]
        if self.dag_id_regex is not None:
            try:
                Regex(self.dag_id_regex, of="Dag ids")
            except RegexError as error:
                problems.append(Problem(error.reason, error.remedy, "dag_id_regex"))
        if problems:
            raise Invalid(*problems)
        try:
            since, until = time_window.read_window(self.start, self.end, zone, now)
            _ = min(since, until) - 2 * WEEK
        except OverflowError:
            raise Invalid(Problem(NO_TIME, "", "from" if self.start else "to")) from None
        if since > until:
            raise Invalid(Problem("“From” is later than “To”.", "Swap the two times, or correct one.", "to"))
        return since, until

    def filter(self, now: datetime) -> FailedFilter:
        """Return what is looked for.

        :raises Invalid: as :meth:`window`
        """
        since, until = self.window(now)
        return FailedFilter(
            since,
            until,
            dag_id_regex=self.dag_id_regex or "",
            tags=tuple(dict.fromkeys(self.tag or ())),
            owners=tuple(dict.fromkeys(self.owner or ())),
            state=self.state or "",
        )


NO_TIME = (
    "Enter a time (02:00), a date (2026-11-01), a date and time (2026-11-01 06:30), or how long ago (-12h)."
)


def _unreadable(text: str, zone: ZoneInfo, now: datetime) -> str:
    try:
        time_window.read_edge(text, zone, now, end=False)
    except NoSuchDay as error:
        return str(error)
    except (ValueError, OverflowError):
        return NO_TIME
    return ""
