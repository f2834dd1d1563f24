"""The commands by name: each takes a context and returns an exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from safe_clear_plugin.cli.commands import (
    approval,
    change_set_plans,
    change_set_undo,
    change_sets,
    clears,
    plans,
    status,
    undo,
)
from safe_clear_plugin.cli.commands.change_sets import either
from safe_clear_plugin.cli.context import Context
from safe_clear_plugin.cli.exit_codes import ExitCode

RUN: Mapping[str, Callable[[Context], ExitCode]] = {
    "plan": plans.plan,
    "plan-set": change_set_plans.plan_set,
    "show": either(plans.show, change_set_plans.show),
    "history": plans.history,
    "apply": either(clears.apply, change_sets.apply),
    "clear": clears.clear,
    "status": either(status.status, change_sets.status),
    "stop": either(clears.stop, change_sets.stop),
    "resume": either(clears.resume, change_sets.resume),
    "continue": either(clears.go_on, change_sets.go_on),
    "undo": either(undo.undo, change_set_undo.undo),
    "ask": either(approval.ask, change_sets.ask),
    "decline": either(approval.decline, change_sets.decline),
}
