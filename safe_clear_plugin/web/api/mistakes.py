"""The texts of mistakes in a request, field by field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from safe_clear_plugin.core.input_limits import NAMES_SHOWN, shortened
from safe_clear_plugin.core.problems import Problem, Refused, Suggestion

ECHOED = 50
"""Characters of a value that a refusal repeats."""
KEYS = ("exclude_task_instance", "row")

MISSING = {
    "dag_id": "Choose a Dag.",
    "fingerprint": "Send the fingerprint of the plan that you previewed.",
}
BY_FIELD = {
    "map_index": "A map index is a whole number from 0, or -1 for a task that is not expanded.",
}
"""The accepted values of a field, where that says more than the kind of its value."""
OF_OTHER_TYPE = {
    "string_type": "Send a string.",
    "bool_type": "Send true or false.",
    "int_type": "Send a whole number.",
    "list_type": "Send a list.",
    "string_unicode": "Remove the control characters.",
    "string_pattern_mismatch": "Remove the control characters.",
}
EMPTY = "This field is empty. Fill it in or leave it out."


@dataclass
class Mistakes:
    """The mistakes by field; ``unknown`` are the names that the request does not have."""

    by_field: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    suggestions: list[Suggestion] = field(default_factory=list)
    """Other selections that would match something."""
    too_long: bool = False
    """Whether a text or a list is longer than it may be."""
    code: str = ""
    """The kind of the refusal, where a program acts on it."""

    def __bool__(self) -> bool:
        return bool(self.by_field or self.unknown)

    def add(self, name: str, text: str) -> None:
        """Note a problem of a field."""
        texts = self.by_field.setdefault(name, [])
        if text not in texts:
            texts.append(text)

    def add_problem(self, problem: Problem) -> None:
        """Note what is wrong with a selection, and what would be right."""
        self.add(problem.field or "", str(problem))
        self.suggestions += problem.suggestions
        self.code = self.code or problem.code

    def add_unknown(self, name: str) -> None:
        """Note a name that the request does not have; the first of many are enough."""
        if len(self.unknown) < NAMES_SHOWN:
            self.unknown.append(shown_name(name))

    def add_invalid(self, error: ValidationError) -> None:
        """Note what a model refuses: of each field the first value that is wrong."""
        seen = set(self.by_field)
        for one in error.errors(include_url=False):
            name = _name(one)
            if one["type"] == "extra_forbidden":
                self.add_unknown(name)
            elif name not in seen:
                seen.add(name)
                self.too_long = self.too_long or one["type"] in ("string_too_long", "too_long")
                self.add(name, _text(name, one))

    def errors(self) -> dict[str, list[str]]:
        """Return the texts by field, those of unknown names too."""
        return {**{name: ["This field doesn't exist."] for name in self.unknown}, **self.by_field}

    def refusal(self, fields: Iterable[str]) -> Refused:
        """Return the refusal of a request that takes these fields."""
        details: dict[str, Any] = {"errors": self.errors()}
        if self.suggestions:
            details["suggestions"] = [one.to_json() for one in self.suggestions]
        if self.code:
            details["code"] = self.code
        if self.unknown:
            details["unknown"] = self.unknown
            listed = ", ".join(f"`{name}`" for name in self.unknown)
            known = ", ".join(f"`{name}`" for name in fields)
            remedy = f"Known fields: {known}." if known else "Send none."
            return Refused(422, Problem(f"Unknown field {listed}.", remedy), details)
        name, texts = next(iter(self.by_field.items()))
        at = f"`{name}`: " if name else ""
        return Refused(422, Problem(f"{at}{texts[0]}", "Nothing was done."), details)


def shown_name(name: str) -> str:
    """Return a name as an answer can repeat it: short, and without lone surrogates."""
    return shortened(name.replace("\x00", "").encode("utf-8", "replace").decode())


def _name(error: ErrorDetails) -> str:
    """Return the field that is wrong, one of an object as ``object.field``."""
    of, *inner = error["loc"] or ("",)
    return f"{of}.{inner[0]}" if inner and isinstance(inner[0], str) else str(of)


def _text(name: str, error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing" and len(error["loc"]) == 1:
        return MISSING.get(name, "This field is missing.")
    if kind in ("string_too_short", "too_short", "blank") and len(error["loc"]) < 3:
        return EMPTY
    if kind == "string_too_long":
        return f"Use at most {context['max_length']:,} characters."
    if kind == "too_long":
        return f"Use at most {context['max_length']:,} values; use dates and filters for more."
    if name in KEYS and len(error["loc"]) > 1:
        return 'Write each task instance as ["task_id", -1, "run_id"].'
    return _of_value(name, error)


def _of_value(name: str, error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("int_type", "greater_than_equal", "less_than_equal") and name in BY_FIELD:
        return BY_FIELD[name]
    if kind in ("literal_error", "enum"):
        value = error["input"]
        said = f"{shortened(value, ECHOED)} is not a choice. " if isinstance(value, str) and value else ""
        return f"{said}Choose {context['expected']}."
    if kind == "greater_than_equal":
        return f"Send a whole number of at least {context['ge']:,}."
    if kind == "less_than_equal":
        return f"Send a whole number of at most {context['le']:,}."
    return OF_OTHER_TYPE.get(kind, error["msg"])
