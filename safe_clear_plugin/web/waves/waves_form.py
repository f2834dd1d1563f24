"""The fields with which a page paces a clear; the model of the request decides what they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import MultiDict
from wtforms import Form, SelectField, StringField
from wtforms.widgets import NumberInput

from safe_clear_plugin.core.waves import RunOrder, Then, Waves
from safe_clear_plugin.web.select.fields import FlagField, SelectChoice

PREFIX = "waves."
NUMBER = {"min": 1, "inputmode": "numeric"}


def _number(label: str, description: str = "") -> Any:
    return StringField(label, description=description, widget=NumberInput(min=1), render_kw=NUMBER)


class WavesForm(Form):
    """The waves, as typed; an empty field sets no limit."""

    class Meta:
        """No locales: FAB's locale selector would write Airflow's session cookie."""

        locales = False

    first_runs = _number("First runs", "Clear this number first. The others wait until these have run.")
    then = SelectField(
        "Then",
        choices=[
            SelectChoice("", "wait for a person"),
            SelectChoice(Then.GO_ON.value, "go on if all succeeded"),
        ],
    )
    at_most_runs = _number("Unfinished runs at most", "The next are cleared as earlier ones finish.")
    stop_after_failed = _number("Failed runs until a person decides")
    order = SelectField(
        "Order",
        choices=[
            SelectChoice("", "oldest runs first"),
            SelectChoice(RunOrder.NEWEST.value, "newest runs first"),
        ],
    )
    not_before = StringField("Not before", description="Such as 2026-11-30 02:00, in UTC.")
    all_at_once = FlagField("Clear all at once")

    def __init__(self, given: MultiDict[str, str] | None = None) -> None:
        super().__init__(given or MultiDict(), prefix=PREFIX)

    @classmethod
    def rejected(cls, given: MultiDict[str, str], errors: Mapping[str, Sequence[str]]) -> WavesForm:
        """Return the fields as they were sent, with what is wrong at each; the names have the prefix."""
        form = cls(given)
        for field in form:
            field.errors = [*field.errors, *errors.get(field.name, ())]
        return form


@dataclass(frozen=True, slots=True)
class PaceFields:
    """The fields that pace a clear, in the form whose id is ``of``."""

    form: WavesForm
    of: str
    text: str
    is_change: bool = False
    """Whether they change a clear in progress."""
    is_canary: bool = False
    """Whether empty fields stand for a canary, as configured."""


def form_of(waves: Waves | None) -> WavesForm:
    """Return the fields as they may have been filled in for these waves."""
    if waves is None:
        return WavesForm()
    values = {
        "first_runs": waves.first_runs,
        "then": Then.GO_ON.value if waves.then is Then.GO_ON else None,
        "at_most_runs": waves.at_most_runs,
        "stop_after_failed": waves.stop_after_failed,
        "order": RunOrder.NEWEST.value if waves.order is RunOrder.NEWEST else None,
        "not_before": waves.not_before.isoformat(sep=" ") if waves.not_before else None,
    }
    return WavesForm(MultiDict({PREFIX + name: str(value) for name, value in values.items() if value}))
