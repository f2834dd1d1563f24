"""The parts of a DAG version that a plan depends on: stored with it, and compared with later versions."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Attributes = Mapping[str, Any]
"""JSON values by name, without those that are false or empty."""

Structure = Mapping[str, Attributes]
"""The attributes of each task by its id, and those of the DAG itself under :data:`OF_DAG`."""

OF_DAG = ""
"""Stands for the DAG among the ids of its tasks."""

WHOLE_TASK = "task"
"""The attribute of a task that only one of two versions has."""

START_DATE, END_DATE = "start_date", "end_date"

NOT_THERE = "not there"
IS_THERE = "there"
NOT_SET = "not set"


@dataclass(frozen=True, slots=True)
class Difference:
    """An attribute in which two versions differ."""

    task_id: str
    """Or :data:`OF_DAG`."""
    attribute: str
    before: Any
    now: Any

    @property
    def before_text(self) -> str:
        """The value in the version before, as it is shown."""
        return _text(self.before)

    @property
    def now_text(self) -> str:
        """The value in the other version, as it is shown."""
        return _text(self.now)


def differences(before: Structure, now: Structure) -> Iterator[Difference]:
    """Yield the differences of two versions, task by task. A task that only one of them has is one."""
    for task_id in sorted(before.keys() | now.keys()):
        old, new = before.get(task_id), now.get(task_id)
        if old is None or new is None:
            sides = (NOT_THERE if one is None else IS_THERE for one in (old, new))
            yield Difference(task_id, WHOLE_TASK, *sides)
            continue
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield Difference(task_id, name, old.get(name), new.get(name))


def pack(structure: Structure) -> str:
    """Return a structure as a short text: the attributes of most tasks are alike."""
    values = json.dumps(structure, sort_keys=True, separators=(",", ":"))
    return base64.b85encode(zlib.compress(values.encode())).decode()


def unpack(text: str) -> Structure:
    """Rebuild a structure from :func:`pack`."""
    found: Structure = json.loads(zlib.decompress(base64.b85decode(text)))
    return found


def _text(value: Any) -> str:
    if value is None:
        return NOT_SET
    if value is True:
        return "set"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
