"""The body of a request for a plan, from the options of a command."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from safe_clear_plugin.cli.arguments import SELECTION
from safe_clear_plugin.cli.errors import CommandError

SHORT_FORMS: Mapping[str, Mapping[str, Any]] = {
    "only_failed": {"state": ["failed", "upstream_failed"]},
    "only_running": {"state": ["running"], "running": "terminate"},
}
"""Options of ``airflow tasks clear``, and the fields that they stand for."""


DAG_FIELDS: Mapping[str, str] = {
    "dag_id": "dag_ids",
    "dag_id_regex": "dag_id_regex",
    "tag": "tags",
    "owner": "owners",
}
"""Options that choose the Dags of a change set, and their fields."""


def selection_body(given: argparse.Namespace) -> dict[str, Any]:
    """Return the body that plans a Dag.

    :raises CommandError: when options contradict each other
    """
    return {**_selection_fields(given), "dag_id": given.dag_id}


def change_set_body(given: argparse.Namespace) -> dict[str, Any]:
    """Return the body that plans several Dags as a change set.

    :raises CommandError: when options contradict each other
    """
    chosen = {field: getattr(given, option) for option, field in DAG_FIELDS.items()}
    return {
        **_selection_fields(given),
        **{field: value for field, value in chosen.items() if value is not None},
    }


def _selection_fields(given: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that are given, under the names of the JSON API.

    An empty value is sent as it is, for the server to refuse: it must not widen the clear.

    :raises CommandError: when options contradict each other
    """
    fields = {one.dest: getattr(given, one.dest) for one in SELECTION.arguments}
    body = {name: value for name, value in fields.items() if value is not None}
    for name, meant in SHORT_FORMS.items():
        if body.pop(name, None):
            _add_short_form(name, meant, body)
    if "exclude_task_instance" in body:
        body["exclude_task_instance"] = [_key(one) for one in body["exclude_task_instance"]]
    return body


def _add_short_form(name: str, meant: Mapping[str, Any], body: dict[str, Any]) -> None:
    option = "--" + name.replace("_", "-")
    for field, value in meant.items():
        if field in body:
            raise CommandError(
                f"{option} sets {field}, which is given as well.",
                f"Leave {option} out, and use --{field.replace('_', '-')} alone.",
            )
        body[field] = value


def _key(words: list[str]) -> list[Any]:
    task_id, map_index, run_id = words
    try:
        return [task_id, int(map_index), run_id]
    except ValueError:
        raise CommandError(
            f"{map_index} is not a map index.",
            "Write --exclude-task-instance TASK_ID MAP_INDEX RUN_ID, with -1 for an unmapped task.",
        ) from None
