"""A plan as a file, for the steps of a pipeline: made by ``plan -o``, read by ``apply``."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.exit_codes import ExitCode

KIND = "safe-clear plan"
SET_KIND = "safe-clear change set"
SCHEMA_VERSION = 1
LONGEST = 10 * 1024 * 1024
"""Bytes of a file that is read: no plan file is longer."""


@dataclass(frozen=True)
class PlanReference:
    """A plan that a command is about; ``fingerprint`` is what was reviewed, empty where an id was given."""

    id: str
    fingerprint: str = ""
    is_set: bool = False
    """Whether a file is of a change set; an id does not say so."""


def write(path: str, server: str, plan: Mapping[str, Any]) -> None:
    """Write the plan to a file, whole or not at all.

    :raises CommandError: when it cannot be written
    """
    _write(path, _contents(server, plan), "plan", plan["id"])


def write_change_set(path: str, server: str, found: Mapping[str, Any]) -> None:
    """Write a change set to a file, whole or not at all.

    :raises CommandError: when it cannot be written
    """
    kept = ("created_by", "created_at", "expires_at", "made_from", "left_out", "task_instances", "dag_runs")
    contents = {
        "kind": SET_KIND,
        "schema_version": SCHEMA_VERSION,
        "server": server,
        "change_set_id": found["id"],
        "fingerprint": found["fingerprint"],
        **{name: found[name] for name in kept},
        "plans": [
            {name: one[name] for name in ("id", "dag_id", "fingerprint", "task_instances", "dag_runs")}
            for one in found["plans"]
        ],
        "required": found["required"],
        "findings": [
            {name: one.get(name) for name in ("dag_id", "code", "level", "title", "detail", "remedy")}
            for one in found["findings"]
        ],
    }
    _write(path, contents, "change set", found["id"])


def _write(path: str, contents: Mapping[str, Any], kind: str, its_id: str) -> None:
    target = Path(path)
    text = json.dumps(contents, indent=2, ensure_ascii=False) + "\n"
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise CommandError(
            f"The {kind} {its_id} was created, but {path} can't be written: {error.strerror}.",
            f"Name another file, or use its id: safe-clear apply {its_id}.",
        ) from None


def _contents(server: str, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file holds: what decides, and what a person reviews."""
    kept = ("dag_id", "sentence", "created_by", "created_at", "expires_at", "selection", "counts", "outcomes")
    findings = [
        {name: one.get(name) for name in ("code", "level", "title", "detail", "remedy")}
        for one in plan["findings"]
    ]
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "server": server,
        "plan_id": plan["id"],
        "fingerprint": plan["fingerprint"],
        **{name: plan[name] for name in kept},
        "required": plan["required"],
        "findings": findings,
    }


def remove_old(path: str) -> bool:
    """Remove the plan file of an earlier run, so that no later step applies it; return whether it was one."""
    try:
        found = _read(path)
    except CommandError:
        return False
    if found.get("kind") not in (KIND, SET_KIND):
        return False
    Path(path).unlink(missing_ok=True)
    return True


def resolve(name: str, server: str) -> PlanReference:
    """Return the plan that a person named by its id or by a file.

    :raises CommandError: when the file is of another schema or server, or cannot be read
    """
    if not (name.endswith(".json") or os.sep in name or Path(name).is_file()):
        return PlanReference(name)
    found = _read(name)
    is_set = found.get("kind") == SET_KIND
    if not is_set and found.get("kind") != KIND:
        raise CommandError(f"{name} is not a plan file.", "Make one with `safe-clear plan … -o plan.json`.")
    if found.get("schema_version") != SCHEMA_VERSION:
        raise CommandError(
            f"{name} has schema version {found.get('schema_version')}; "
            f"this safe-clear reads {SCHEMA_VERSION}.",
            "Use the same version of safe-clear to plan and to apply, or plan again.",
            ExitCode.REFUSED,
        )
    id_, fingerprint, made_on = (
        found.get(key) for key in ("change_set_id" if is_set else "plan_id", "fingerprint", "server")
    )
    if not (isinstance(id_, str) and id_ and isinstance(fingerprint, str) and fingerprint):
        raise CommandError(f"{name} names no plan.", "Make it again with `safe-clear plan … -o plan.json`.")
    # The file decides nothing about where a token is sent: it may be somebody else's.
    if made_on != server:
        raise CommandError(
            f"{name} is a plan of {made_on}, but the server is {server}.",
            "Set --server or SAFE_CLEAR_SERVER to that server if you mean it, or plan again.",
            ExitCode.REFUSED,
        )
    return PlanReference(id_, fingerprint, is_set)


def _read(path: str) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            found = json.loads(file.read(LONGEST))
    except FileNotFoundError:
        raise CommandError(
            f"There is no file {path}.", "Check the name. `safe-clear plan … -o` writes the file."
        ) from None
    except OSError as error:
        raise CommandError(f"Can't read {path}: {error.strerror}.", "Check the name.") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CommandError(f"{path} is not a plan file.", "Make one with `safe-clear plan … -o plan.json`.")
    return found
