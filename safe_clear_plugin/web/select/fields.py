"""Kinds of form fields that Airflow's ids, lists and flags need; the models decide what they take."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from wtforms import SelectMultipleField, TextAreaField, widgets
from wtforms.fields import BooleanField, choices

from safe_clear_plugin.core.keys import TaskInstanceKey

# WTForms 3.2, the last one for Python 3.10, takes pairs.
SelectChoice: Any = getattr(choices, "SelectChoice", lambda value, label: (value, label))


class LinesField(TextAreaField):
    """Several values: one a line, or the field given several times."""

    data: Any

    def process_formdata(self, valuelist: list[str]) -> None:
        """Take every line of every value once, in order."""
        lines = (line.strip() for value in valuelist for line in re.split(r"\r?\n", value))
        self.data = list(dict.fromkeys(line for line in lines if line))

    def _value(self) -> str:
        return "\n".join(self.data or [])


class FlagField(BooleanField):
    """Yes or no; a missing value keeps the default, so a page sends ``false`` before its checkbox."""

    def process_formdata(self, valuelist: list[str]) -> None:
        """Say what the last of the values says."""
        if valuelist:
            self.data = valuelist[-1] == "true"


class ChoicesField(SelectMultipleField):
    """Any number of choices, drawn as checkboxes."""

    option_widget = widgets.CheckboxInput()


def key_line(key: TaskInstanceKey) -> str:
    """Write a task instance as a line of a form."""
    return json.dumps(key.to_json())


def labelled(values: Iterable[str]) -> list[Any]:
    """Return the choices of names that are shown as they are, or drawn as chips."""
    return [SelectChoice(value, value) for value in values]
