"""The form of a selection as a page draws it; the model of the request decides what its fields take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict
from wtforms import Form, RadioField, SelectField, StringField

from safe_clear_plugin.core.dates import parse_moment
from safe_clear_plugin.core.problems import Suggestion
from safe_clear_plugin.core.selection import DATE_FIELDS, MOMENTS, RUN_TYPES, RUNNING_CHOICES, Selection
from safe_clear_plugin.core.states import RUN_STATES, TASK_INSTANCE_STATES
from safe_clear_plugin.services.planning import run_scope
from safe_clear_plugin.web.select.fields import (
    ChoicesField,
    FlagField,
    LinesField,
    SelectChoice,
    key_line,
    labelled,
)

UTC = ZoneInfo("UTC")
LITERAL_PLACEHOLDER = re.compile(r"^\{[A-Z_]+\}$")
"""Airflow leaves ``{MAP_INDEX}`` as it is in the link of a task instance that is not mapped."""
LINKED = ("dag_id", "run_id", "task_id", "map_index")
"""The fields that Airflow's links fill in."""


class SelectionForm(Form):
    """Everything that a selection consists of; ``given`` is what fills it in."""

    class Meta:
        """No locales: FAB's locale selector would write Airflow's session cookie."""

        locales = False

    dag_id = StringField("Dag")
    task_regex = StringField("Task regex")
    task_ids = LinesField("Task ids", description="One task id per line, in place of a task regex.")
    run_id = LinesField("Run ids", description="One run id per line. Leave empty for every run in the range.")
    partition_key = LinesField(
        "Partition keys", description="One partition key per line, exactly as in the run."
    )
    date_field = SelectField("Date field", choices=labelled(DATE_FIELDS), default="logical_date")
    date_from = StringField("From")
    date_to = StringField("To (inclusive)")
    timezone = StringField("Time zone", default="UTC")
    run_type = ChoicesField("Run type", choices=labelled(RUN_TYPES))
    run_state = ChoicesField("Run state", choices=labelled(RUN_STATES))
    state = ChoicesField("Task instance state", choices=labelled(TASK_INSTANCE_STATES))
    failed_from = StringField("Failed from")
    failed_to = StringField(
        "Failed to (inclusive)",
        description="Only task instances that ended as Failed or Upstream Failed in this time, on any "
        "date of their runs.",
    )
    include_setups = FlagField(
        "With setups and teardowns",
        description="Those of the tasks above, in any state: without them a state filter leaves them out.",
    )
    map_index = StringField("Map index")
    index_run_id = StringField(
        "Map index as in run",
        description="Related tasks use the mapping of this dag run; * includes them with every map index.",
    )
    include_upstream = FlagField("Upstream")
    include_downstream = FlagField("Downstream")
    include_past = FlagField("Past runs")
    include_future = FlagField("Future runs")
    exclude_task_id = LinesField("Tasks to exclude", description="One task id per line.")
    exclude_run_id = LinesField("Runs to exclude", description="One run id per line.")
    exclude_task_instance = LinesField(
        "Task instances to exclude", description='One per line, as `["task_id", -1, "run_id"]`.'
    )
    running = RadioField(
        "Running task instances",
        choices=[SelectChoice("leave_out", "Leave out"), SelectChoice("terminate", "Terminate")],
        default=RUNNING_CHOICES[0],
    )
    run_on_latest_version = SelectField(
        "Dag version",
        choices=[
            SelectChoice("", "As configured"),
            SelectChoice("true", "The latest version"),
            SelectChoice("false", "The version each run used"),
        ],
        default="",
    )
    reset_dag_runs = FlagField("Queue finished runs again", default=True)

    def __init__(self, given: MultiDict[str, str]) -> None:
        super().__init__(given)
        self.given = given
        if not run_scope.knows_partition_dates() and self.date_field.data != "partition_date":
            self.date_field.choices = labelled(name for name in DATE_FIELDS if name != "partition_date")

    def add_errors(self, errors: Mapping[str, Sequence[str]]) -> None:
        """Give each field its problems."""
        for name, texts in errors.items():
            if name in self:
                self[name].errors = [*self[name].errors, *texts]


def without_placeholders(args: MultiDict[str, str]) -> MultiDict[str, str]:
    """Return the query of a link from Airflow's UI, in which a name may be left in braces."""
    kept = [
        (name, value)
        for name, value in args.items(multi=True)
        if not (name in LINKED and LITERAL_PLACEHOLDER.match(value))
    ]
    return MultiDict(kept)


def suggested_forms(
    selection: Selection, suggestions: Iterable[Suggestion]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the button of each suggestion, and the names and values that its form sends."""
    return [
        (one.text, list(form_from_selection(selection.changed(one.changes)).given.items(multi=True)))
        for one in suggestions
    ]


def form_from_selection(selection: Selection) -> SelectionForm:
    """Return the form as it was, or may have been, filled in for this selection."""
    data: MultiDict[str, str] = MultiDict()
    for name, value in _as_form_data(selection).items():
        data.setlist(name, value if isinstance(value, list) else [value])
    return SelectionForm(data)


def _as_form_data(selection: Selection) -> dict[str, Any]:
    values = selection.to_json()
    values["run_on_latest_version"] = {None: "", True: "true", False: "false"}[
        selection.run_on_latest_version
    ]
    values["exclude_task_instance"] = [key_line(key) for key in selection.exclude_task_instance]
    zone = ZoneInfo(selection.timezone)
    for name in MOMENTS:
        moment, of_runs = getattr(selection, name), name.startswith("date_")
        read_in = UTC if of_runs and selection.is_by_partition_date else zone
        values[name] = format_for_input(moment, read_in, end=name.endswith("_to")) if moment else ""
    flags = {True: "true", False: "false"}
    return {
        name: flags[value] if isinstance(value, bool) else value if isinstance(value, list) else str(value)
        for name, value in values.items()
        if value not in ("", None, [])
    }


def format_for_input(moment: datetime, zone: ZoneInfo, *, end: bool) -> str:
    """Write a moment so that it reads back as the same: as it may have been typed, else in UTC."""
    try:
        local = moment.astimezone(zone)
    except OverflowError:
        return moment.isoformat()
    day, clock = local.date().isoformat(), local.time().isoformat().removesuffix(":00")
    for typed in (day, f"{day} {clock}"):
        if _reads_as(typed, zone, moment, end=end):
            return typed
    return moment.isoformat()


def _reads_as(text: str, zone: ZoneInfo, moment: datetime, *, end: bool) -> bool:
    try:
        return parse_moment(text, zone, end=end) == moment
    except (ValueError, OverflowError):
        return False
