"""Shortcuts that fill in the task regex: one for each task group at the top of the Dag."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.core.regex import exactly
from safe_clear_plugin.services.live_preview import task_tree_selection


@dataclass(frozen=True, slots=True)
class Chip:
    """A shortcut that fills in the task regex."""

    label: str
    regex: str


def group_chips(tree: task_tree_selection.Tree | None) -> list[Chip]:
    """Offer each top-level task group whose tasks all begin with its id."""
    groups = [root for root in tree.roots if root.node.group] if tree else []
    return [
        Chip(root.node.label, exactly(root.node.id)[:-1] + r"\.")
        for root in groups
        if all(task.node.id.startswith(f"{root.node.id}.") for task in root.tasks)
    ]
