"""The commands: what each takes, and what its help teaches."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.cli import arguments as a
from safe_clear_plugin.cli.argument_types import Argument, Group, argument, repeated, switch


@dataclass(frozen=True)
class Command:
    """A command; the function of the same name in ``cli.commands`` runs it."""

    name: str
    help: str
    description: str
    examples: tuple[str, ...]
    groups: tuple[Group, ...]

    @property
    def all_groups(self) -> tuple[Group, ...]:
        """Its arguments, with those that every command has."""
        return (*self.groups, a.CONNECTION, a.OUTPUT_STYLE)


def _of(*arguments: Argument) -> Group:
    return Group("", arguments)


RUN_ID = repeated("--run-id", metavar="ID", help="Only this dag run. Repeat it for more.")
REASON = argument("--reason", metavar="TEXT", help="Why. The receipt keeps it.")
TAKE_OVER = switch("--take-over", help="Continue a clear that someone else applies and that goes on.")
SKIP_STOPPED = switch(
    "--skip-stopped",
    help="For a change set: skip the Dags that would only stop again. They stay as they are.",
)
DAG_OF_SET = repeated("--dag-id", metavar="DAG_ID", help="Only this Dag of a change set. Repeat it for more.")
DETAILED_STATUS = switch(
    "--detailed-exitcode", help="Exit with 2, 3, 4 or 5 for a plan that is not done, see the exit codes."
)

COMMANDS = (
    Command(
        "plan",
        "Preview a clear and store it as a plan",
        "Preview a clear: which task instances, why, what the scheduler will make of them, the findings and "
        "the likely cost. Nothing is cleared.",
        (
            "safe-clear plan sales_etl -t '^load' -s 2026-11-18 -e 2026-11-20",
            "safe-clear plan sales_etl --run-id manual__2026-11-18 -f -d",
            "safe-clear plan sales_etl -f -s 2026-11-18 -o plan.json --detailed-exitcode",
        ),
        (_of(a.DAG_ID, a.OUTPUT, a.ROWS, a.DETAILED), a.SELECTION),
    ),
    Command(
        "plan-set",
        "Preview a clear in several Dags and store it as a change set",
        "Preview a clear in several Dags and store it as a change set: a plan for each Dag, confirmed, "
        "cleared and undone together. Name the Dags, or choose them by id, tag or owner. Or give "
        "--failed-from and --failed-to for all Dags with a failure. With --waiting-for, the set has a plan "
        "and the Dags that wait for it. Nothing is cleared yet.",
        (
            "safe-clear plan-set --failed-from 2026-11-18T02:00 --failed-to 2026-11-18T04:00 -d",
            "safe-clear plan-set --dag-id sales_etl --dag-id report -f -s 2026-11-18 -o set.json",
            "safe-clear plan-set --tag nightly -f -s 2026-11-18",
            "safe-clear plan-set --waiting-for 0f6c… --delta sales_report:wait_for_etl=1h",
        ),
        (_of(a.OUTPUT, a.ROWS, a.DETAILED), a.DAGS, a.SELECTION),
    ),
    Command(
        "show",
        "Show a plan",
        "Show a plan or its receipt, or a change set.",
        ("safe-clear show 0f6c…", "safe-clear show plan.json --rows 1000", "safe-clear show 0f6c… --json"),
        (_of(a.PLAN_OR_FILE, a.ROWS),),
    ),
    Command(
        "apply",
        "Clear what a plan shows, or nothing",
        "Clear exactly what a plan shows. If anything in it has changed, nothing is cleared and the exit "
        "code is 3. It is safe to apply a plan again after a lost connection.",
        (
            "safe-clear apply plan.json",
            "safe-clear apply plan.json --yes --reason 'late files' --wait",
            "safe-clear apply 0f6c… --yes --acknowledge running_terminated --confirm-dag-id sales_etl",
            "safe-clear apply plan.json --first-runs 1 --then ask --wait",
        ),
        (_of(a.PLAN_OR_FILE, a.ROWS), a.CONFIRMATION, a.WAVES, a.WAIT),
    ),
    Command(
        "clear",
        "Plan, show, ask, and apply, in one command",
        "Plan a clear, show it, ask, and apply it: `airflow tasks clear` with a preview that holds.",
        (
            "safe-clear clear sales_etl -t '^load' -s 2026-11-18 -e 2026-11-20 -d",
            "safe-clear clear sales_etl -f -s 2026-11-18 --yes --wait",
        ),
        (_of(a.DAG_ID, a.ROWS), a.SELECTION, a.CONFIRMATION, a.WAVES, a.WAIT),
    ),
    Command(
        "status",
        "Show how far a clear, an undo and the re-runs are",
        "Show how far a clear, an undo and the re-runs are.",
        ("safe-clear status 0f6c…", "safe-clear status 0f6c… --wait --wait-timeout 3600"),
        (_of(a.PLAN_OR_FILE, DETAILED_STATUS), a.WAIT),
    ),
    Command(
        "stop",
        "Stop a clear or an undo after the current batch",
        "Stop a clear or an undo after the current batch. Finished batches stay cleared or put back. "
        "The rest is not touched.",
        ("safe-clear stop 0f6c…",),
        (_of(a.PLAN_OR_FILE),),
    ),
    Command(
        "resume",
        "Continue a clear that was stopped or interrupted",
        "Continue a clear that was stopped or interrupted. It keeps its waves, unless you give others. "
        "A plan that nobody has applied can't be resumed: apply it.",
        ("safe-clear resume 0f6c…", "safe-clear resume 0f6c… --take-over --wait"),
        (_of(a.PLAN_OR_FILE, REASON, TAKE_OVER, SKIP_STOPPED), a.WAVES, a.WAIT),
    ),
    Command(
        "continue",
        "Continue a clear that waits for a person between two waves",
        "Continue a clear that waits for a person between two waves. "
        "It keeps its waves, unless you give others.",
        (
            "safe-clear continue 0f6c… --wait",
            "safe-clear continue 0f6c… --skip-failed --reason 'known to fail'",
            "safe-clear continue 0f6c… --at-most-runs 3",
        ),
        (_of(a.PLAN_OR_FILE, a.SKIP_FAILED, REASON), a.WAVES, a.WAIT),
    ),
    Command(
        "undo",
        "Undo a clear, as far as nothing has started",
        "Put back what a plan cleared and what has not started since. The rest is listed with the reason.",
        ("safe-clear undo 0f6c… --dry-run", "safe-clear undo 0f6c… --run-id manual__2026-11-18 --yes"),
        (
            _of(
                a.PLAN_OR_FILE,
                RUN_ID,
                DAG_OF_SET,
                REASON,
                switch("--dry-run", help="Show what an undo would do, and do nothing."),
                switch("-y", "--yes", help="Ask nothing."),
            ),
        ),
    ),
    Command(
        "history",
        "List plans, the newest first",
        "List plans, the newest first.",
        ("safe-clear history --mine", "safe-clear history --dag-id sales_etl --status stopped --json"),
        (_of(), a.HISTORY),
    ),
    Command(
        "ask",
        "Request approval by a second person",
        "Request approval by a second person, who applies the plan with `safe-clear apply` or on its page.",
        ("safe-clear ask plan.json --reason 'late files'",),
        (_of(a.PLAN_OR_FILE, REASON),),
    ),
    Command(
        "decline",
        "Decline a plan that waits for approval",
        "Decline a plan that waits for approval, or withdraw your own.",
        ("safe-clear decline 0f6c… --reason 'the source is not fixed yet'",),
        (_of(a.PLAN_OR_FILE, REASON),),
    ),
)
