"""The selection of a change set, in a sentence."""

from __future__ import annotations

from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.change_set import ChangeSet, ChosenBy
from safe_clear_plugin.core.selection import Selection


def set_sentence(of: ChangeSet, awaited: str, *, brief: bool = False) -> str:
    """Return the selection in each DAG of the set, as a sentence.

    ``awaited`` is the DAG that they wait for; empty if the caller may not know it.
    """
    if of.made_from["chosen_by"] != ChosenBy.WAITING:
        selection = Selection.from_json(of.made_from["selection"])
        return plan_text.sentence(selection, on_latest=of.run_on_latest_version, brief=brief)
    if awaited in of.dag_ids:
        return (
            f"The plan of {awaited}, plus the sensors in each Dag that waits for {awaited} and everything "
            "downstream of them."
        )
    awaited = awaited or "a Dag outside this change set"
    return f"The sensors in each Dag that waits for {awaited}, and everything downstream of them."
