"""Kinds of fields that Airflow's ids, lists and flags need, and what any of them refuses."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from wtforms import Form, SelectMultipleField, TextAreaField, ValidationError, widgets
from wtforms.fields import BooleanField, Field, choices

from safe_clear_plugin.core.selection import TaskInstanceKey

# WTForms 3.2, the last one for Python 3.10, takes pairs.
SelectChoice: Any = getattr(choices, "SelectChoice", lambda value, label: (value, label))

LITERAL_PLACEHOLDER = re.compile(r"^\{[A-Z_]+\}$")
"""Airflow leaves ``{MAP_INDEX}`` as it is in the link of a task instance that is not mapped."""

MOST_LINES = 10_000
FALSE_WORDS = ("", "0", "false", "no", "off")


def plain(_: Form, field: Field) -> None:
    """Refuse what no id contains and no database stores: control characters, lone surrogates."""
    values = field.data if isinstance(field.data, list) else [field.data or ""]
    if any(_has_control_characters(value) for value in values):
        raise ValidationError("Remove the control characters.")


def _has_control_characters(text: str) -> bool:
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in text)


def not_too_many(_: Form, field: Field) -> None:
    """Hold a list within what a database takes in one statement."""
    if len(field.data or ()) > MOST_LINES:
        raise ValidationError(f"Give at most {MOST_LINES:,}; use dates and filters for more.")


def strip(value: str | None) -> str:
    """Return the text without blanks around it; nothing if it is a placeholder."""
    text = (value or "").strip()
    return "" if LITERAL_PLACEHOLDER.match(text) else text


class LinesField(TextAreaField):
    """Several values: one a line, or the field given several times."""

    data: Any

    def process_formdata(self, valuelist: list[str]) -> None:
        """Take every line of every value once, in order."""
        lines = (line.strip() for value in valuelist for line in re.split(r"\r?\n", value))
        self.data = list(dict.fromkeys(line for line in lines if line))

    def _value(self) -> str:
        return "\n".join(self.data or [])


class LinkedLinesField(LinesField):
    """Several values that may come from a link in Airflow's UI, with a placeholder left in it."""

    def process_formdata(self, valuelist: list[str]) -> None:
        """Leave placeholders out. Only here: what is to be excluded is never dropped."""
        super().process_formdata(valuelist)
        self.data = [line for line in self.data if not LITERAL_PLACEHOLDER.match(line)]


class KeysField(LinesField):
    """Task instances, each as JSON: ``["task_id", map_index, "run_id"]``."""

    def keys(self) -> tuple[TaskInstanceKey, ...]:
        """Return the keys, each once.

        :raises ValidationError: at a line that is none
        """
        return tuple(dict.fromkeys(_key(line) for line in self.data or ()))


def _key(line: str) -> TaskInstanceKey:
    try:
        task_id, map_index, run_id = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        task_id = map_index = run_id = None
    if not (isinstance(task_id, str) and type(map_index) is int and isinstance(run_id, str)):
        raise ValidationError(f'Write each task instance as ["task_id", -1, "run_id"], not as {line[:250]}.')
    if not -1 <= map_index < 2**31 or _has_control_characters(task_id + run_id):
        raise ValidationError(f"There can be no task instance {line[:250]}.")
    return task_id, map_index, run_id


class FlagField(BooleanField):
    """Yes or no; what is not given keeps the default, so a page sends ``false`` before its checkbox."""

    def process_formdata(self, valuelist: list[str]) -> None:
        """Say yes if any of the values does."""
        if valuelist:
            self.data = any(str(value).strip().lower() not in FALSE_WORDS for value in valuelist)


class ChoicesField(SelectMultipleField):
    """Any number of choices, drawn as checkboxes; repeated names count once."""

    option_widget = widgets.CheckboxInput()

    def process_formdata(self, valuelist: list[str]) -> None:
        """Keep each choice once."""
        self.data = list(dict.fromkeys(value for value in valuelist if value))


def named(values: Iterable[str]) -> list[Any]:
    """Return the choices of states, or of other names that are shown as they are."""
    return [SelectChoice(value, "no status" if value == "none" else value) for value in values]
