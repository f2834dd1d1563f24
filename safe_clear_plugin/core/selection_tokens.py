"""A selection as short tokens, one for each thing that it says, for a page that is read at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.formats import join_words, range_text
from safe_clear_plugin.core.plan_text import directions, either_state, excluded, named_tasks, runs_text
from safe_clear_plugin.core.selection import Selection

SETUPS = "setups and teardowns"


@dataclass(frozen=True, slots=True)
class SelectionToken:
    """One part of a selection."""

    name: str
    value: str
    note: str = ""
    is_code: bool = False
    """Whether the value is a regex or an id, which is shown as it was typed."""


def selection_tokens(selection: Selection, *, on_latest: bool, label: str = "") -> tuple[SelectionToken, ...]:
    """Return the tokens of a selection, in the order of the form.

    ``label`` is what ``map_index_template`` has made of its map index. All that
    :func:`~safe_clear_plugin.core.plan_text.sentence` says is in them.
    """
    return (
        *_task_tokens(selection, label),
        SelectionToken("Runs", runs_text(selection, has_heading=True)),
        *_propagation_tokens(selection),
        *_option_tokens(selection, on_latest),
    )


def _task_tokens(selection: Selection, label: str) -> Iterator[SelectionToken]:
    if not selection.names_tasks:
        yield SelectionToken("Tasks", "all")
    else:
        tasks = selection.task_regex or named_tasks(selection, has_heading=True)
        note = "" if selection.map_index is None else f"[{selection.map_index}] {label}".rstrip()
        yield SelectionToken("Tasks", tasks, note, is_code=bool(selection.task_regex))
    if selection.state:
        yield SelectionToken("State", either_state(selection.state))
    if selection.is_by_failure:
        yield SelectionToken("Failed", range_text(selection.failed_from, selection.failed_to, " UTC"))


def _propagation_tokens(selection: Selection) -> Iterator[SelectionToken]:
    same_states = "in the same states" if selection.state else ""
    along = [(word, same_states) for word in directions(selection)]
    if selection.adds_setups:
        along.append((SETUPS, "in any state"))
    elif not selection.is_by_failure and (selection.names_tasks or selection.adds_relatives):
        along.append((SETUPS, same_states))
    if not along:
        return
    if len({states for _, states in along}) == 1:
        yield SelectionToken("Also clear", _listed(along), along[0][1])
    else:
        rest = _listed(along[:-1])
        yield SelectionToken("Also clear", f"{rest} {same_states}".rstrip() + f"; {SETUPS} in any state")


def _listed(along: Sequence[tuple[str, str]]) -> str:
    return ", ".join(word for word, _ in along)


def _option_tokens(selection: Selection, on_latest: bool) -> Iterator[SelectionToken]:
    if without := excluded(selection):
        yield SelectionToken("Excluded", join_words(without))
    if selection.running == "terminate":
        yield SelectionToken("Running", "terminated and started again")
    else:
        yield SelectionToken("Running", "left out")
    if on_latest:
        yield SelectionToken(
            "Dag version", "latest", "" if selection.reset_dag_runs else "task instances only"
        )
    if not selection.reset_dag_runs:
        yield SelectionToken("Dag runs", "keep their state", "task instances in finished runs will not start")
