"""A selection that is being made: what can be read of it, and what cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.web.api import form_data, request_reader
from safe_clear_plugin.web.api.bodies import AnswersRequest
from safe_clear_plugin.web.api.mistakes import Mistakes
from safe_clear_plugin.web.select import date_range
from safe_clear_plugin.web.select.form import SelectionForm


@dataclass(frozen=True, slots=True)
class Draft:
    """A selection without the fields that cannot be read; these are ``broken``, each with its problem."""

    selection: Selection
    broken: Mapping[str, list[str]]
    browser_timezone: str = ""
    readings: tuple[str, ...] = ()
    """The reading of dates that can mean two moments."""


def draft_of(values: Mapping[str, Any], mistakes: Mistakes) -> Draft:
    """Return what can be read of what a form gives."""
    values = form_data.with_dates(values)
    found = request_reader.validate(AnswersRequest, values, mistakes)
    broken = mistakes.by_field
    if found is None:
        readable = {name: value for name, value in values.items() if name not in broken}
        found = AnswersRequest.model_validate(readable)
    return Draft(found.selection(), broken, found.browser_timezone or "", tuple(_readings(found)))


def _readings(found: AnswersRequest) -> Iterator[str]:
    zone = ZoneInfo(found.timezone)
    dates = (("From", found.date_from, False), ("To", found.date_to, True))
    failed = (("Failed from", found.failed_from, False), ("Failed to", found.failed_to, True))
    for label, text, end in (*(() if found.date_field == "partition_date" else dates), *failed):
        if text and (reading := date_range.read_as(label, text, zone, end=end)):
            yield reading


def draft_in(form: SelectionForm) -> Draft:
    """Return what can be read of a form."""
    return draft_of(*form_data.read(form.given, AnswersRequest, blank_is_absent=True))
