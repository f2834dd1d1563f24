"""The form, which pages and JSON share: the same names, the same rules, the same words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo
from zoneinfo import available_timezones as read_available_timezones

from werkzeug.datastructures import MultiDict
from wtforms import Form, RadioField, SelectField, StringField, ValidationError
from wtforms.fields import Field
from wtforms.validators import InputRequired

from safe_clear_plugin.core import policy
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.selection import (
    DATE_FIELDS,
    RUN_STATES,
    RUN_TYPES,
    RUNNING_CHOICES,
    TASK_INSTANCE_STATES,
    Selection,
    parse_moment,
)
from safe_clear_plugin.web.fields import (
    ChoicesField,
    FlagField,
    KeysField,
    LinesField,
    LinkedLinesField,
    SelectChoice,
    named,
    not_too_many,
    plain,
    strip,
)


@cache
def available_timezones() -> frozenset[str]:
    """Return the names of all time zones; reading them takes a while."""
    return frozenset(read_available_timezones())


class SelectionForm(Form):
    """Everything that a selection consists of."""

    class Meta:
        """No locales: FAB's locale selector would write Airflow's session cookie."""

        locales = False

    dag_id = StringField("DAG", [InputRequired("Choose a DAG."), plain], filters=[strip])
    task_regex = StringField("Task regex", [plain], filters=[strip])
    run_id = LinkedLinesField(
        "Run ids",
        [plain, not_too_many],
        description="One run id a line. Empty means every run in the range.",
    )
    date_field = SelectField("Compare with", choices=named(DATE_FIELDS), default="logical_date")
    date_from = StringField("From", [plain], filters=[strip])
    date_to = StringField("To, inclusive", [plain], filters=[strip])
    timezone = StringField("Time zone", [plain], default="UTC", filters=[strip])
    run_type = ChoicesField("Run type", choices=named(RUN_TYPES))
    run_state = ChoicesField("Run state", choices=named(RUN_STATES))
    state = ChoicesField("Task instance state", choices=named(TASK_INSTANCE_STATES))
    map_index = StringField("Map index", [plain], filters=[strip])
    index_run_id = StringField(
        "Map index as in run",
        [plain],
        filters=[strip],
        description="Relatives of the map index follow the mapping of this dag run; * takes them whole.",
    )
    include_upstream = FlagField("Upstream")
    include_downstream = FlagField("Downstream")
    include_past = FlagField("Past runs")
    include_future = FlagField("Future runs")
    exclude_task_id = LinesField("Tasks to exclude", [plain, not_too_many], description="One task id a line.")
    exclude_run_id = LinesField("Runs to exclude", [plain, not_too_many], description="One run id a line.")
    exclude_task_instance = KeysField(
        "Task instances to exclude",
        [plain, not_too_many],
        description='One a line, as `["task_id", -1, "run_id"]`.',
    )
    running = RadioField(
        "What runs now",
        choices=[SelectChoice("leave_out", "Leave out"), SelectChoice("terminate", "Terminate")],
        default=RUNNING_CHOICES[0],
    )
    run_on_latest_version = SelectField(
        "DAG version",
        choices=[
            SelectChoice("", "As configured"),
            SelectChoice("true", "The latest"),
            SelectChoice("false", "The run's own"),
        ],
        default="",
    )
    reset_dag_runs = FlagField("Queue finished runs again", default=True)

    def validate_map_index(self, field: Field) -> None:
        """Refuse what is no map index."""
        if field.data and not re.fullmatch(r"-1|\d{1,9}", field.data):
            raise ValidationError(
                "A map index is a whole number from 0 on, or -1 for one that is not expanded."
            )

    def validate_exclude_task_instance(self, field: KeysField) -> None:
        """Refuse what is no key of a task instance."""
        field.keys()

    def validate_timezone(self, field: Field) -> None:
        """Refuse a zone that does not exist."""
        if field.data and field.data not in available_timezones():
            raise ValidationError(
                f"There is no time zone {field.data}. Use a name such as UTC or Europe/Berlin."
            )

    def validate_date_from(self, field: Field) -> None:
        """Refuse what is no date."""
        self._moment(field, end=False)

    def validate_date_to(self, field: Field) -> None:
        """Refuse what is no date."""
        self._moment(field, end=True)

    def _moment(self, field: Field, *, end: bool) -> datetime | None:
        if not field.data:
            return None
        name = self.timezone.data or "UTC"
        zone = ZoneInfo(name if name in available_timezones() else "UTC")
        try:
            return parse_moment(field.data, zone, end=end)
        except (ValueError, OverflowError):
            raise ValidationError(
                "Write a date such as 2026-11-01, with a time such as 2026-11-01 06:30 if you need one."
            ) from None

    def selection(self) -> Selection:
        """Return the selection of a form that has been validated."""
        on_latest = {"": None, "true": True, "false": False}[self.run_on_latest_version.data or ""]
        return Selection(
            dag_id=self.dag_id.data or "",
            task_regex=self.task_regex.data or "",
            run_id=tuple(self.run_id.data or ()),
            date_field=self.date_field.data,
            date_from=self._moment(self.date_from, end=False),
            date_to=self._moment(self.date_to, end=True),
            timezone=self.timezone.data or "UTC",
            run_type=tuple(self.run_type.data or ()),
            run_state=tuple(self.run_state.data or ()),
            state=tuple(self.state.data or ()),
            map_index=int(self.map_index.data) if self.map_index.data else None,
            index_run_id=self.index_run_id.data or "",
            include_upstream=self.include_upstream.data,
            include_downstream=self.include_downstream.data,
            include_past=self.include_past.data,
            include_future=self.include_future.data,
            exclude_task_id=tuple(self.exclude_task_id.data or ()),
            exclude_run_id=tuple(self.exclude_run_id.data or ()),
            exclude_task_instance=self.exclude_task_instance.keys(),
            running=self.running.data,
            run_on_latest_version=on_latest,
            reset_dag_runs=self.reset_dag_runs.data,
        )

    def check(self) -> bool:
        """Validate the fields, then what they say together; errors stand at their fields."""
        if not self.validate():
            return False
        problems = list(policy.check(self.selection()))
        self.add_problems(problems)
        return not problems

    def add_problems(self, problems: Iterable[Problem]) -> list[Problem]:
        """Put problems to their fields; return those that belong to none."""
        rest = []
        for problem in problems:
            if problem.field in self._fields:
                field = self._fields[problem.field]
                field.errors = [*field.errors, str(problem)]
            else:
                rest.append(problem)
        return rest


def task_regex_of(task_id: str) -> str:
    """Return the regular expression that matches this task alone."""
    return "^" + re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", task_id) + "$"


def from_json(body: Any) -> tuple[MultiDict[str, str], dict[str, list[str]]]:
    """Turn a JSON object into form data, and name the fields whose values have no such form."""
    data: MultiDict[str, str] = MultiDict()
    errors: dict[str, list[str]] = {}
    if not isinstance(body, Mapping):
        return data, {"": ["Send a JSON object with the fields of the form."]}
    for name, value in body.items():
        values = value if isinstance(value, list) else [value]
        if name == "exclude_task_instance":
            values = [json.dumps(item) if isinstance(item, list) else item for item in values]
        if all(item is None or isinstance(item, (str, int, bool)) for item in values):
            data.setlist(name, [_as_text(item) for item in values if item is not None])
        else:
            errors[name] = ["Send a string, a number, true, false, or a list of strings."]
    return data, errors


def _as_text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def filled(selection: Selection) -> SelectionForm:
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
    values["exclude_task_instance"] = [json.dumps(key) for key in selection.exclude_task_instance]
    zone = ZoneInfo(selection.timezone)
    for name, moment in (("date_from", selection.date_from), ("date_to", selection.date_to)):
        values[name] = typed(moment, zone, end=name == "date_to") if moment else ""
    flags = {True: "true", False: "false"}
    return {
        name: flags[value] if isinstance(value, bool) else value if isinstance(value, list) else str(value)
        for name, value in values.items()
        if value not in ("", None, [])
    }


def typed(moment: datetime, zone: ZoneInfo, *, end: bool) -> str:
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
