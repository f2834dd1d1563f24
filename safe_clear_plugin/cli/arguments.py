"""The arguments of the commands, declared once for ``safe-clear`` and for ``airflow safe-clear``."""

from __future__ import annotations

from safe_clear_plugin.cli.argument_types import Group, argument, either, repeated, seconds, switch
from safe_clear_plugin.core.plan import ShownStatus
from safe_clear_plugin.core.selection import DATE_FIELDS, RUN_TYPES, RUNNING_CHOICES
from safe_clear_plugin.core.states import RUN_STATES, TASK_INSTANCE_STATES

DAG_ID = argument("dag_id", metavar="DAG_ID", help="The Dag.")

SELECTION = Group(
    "selection",
    (
        argument(
            "-t", "--task-regex", metavar="RE2", help="Tasks whose id matches. Without it: whole dag runs."
        ),
        repeated("--task-id", dest="task_ids", metavar="ID", help="A task by its id. Repeat it for more."),
        repeated("--run-id", metavar="ID", help="A dag run. Repeat it for more."),
        repeated("--partition-key", metavar="KEY", help="Dag runs with this partition key."),
        argument(
            "-s", "--date-from", "--start-date", metavar="DATE", help="First date of the range, inclusive."
        ),
        argument("-e", "--date-to", "--end-date", metavar="DATE", help="Last date of the range, inclusive."),
        argument("--date-field", choices=DATE_FIELDS, help="The date that the range is about."),
        argument("--timezone", metavar="ZONE", help="Time zone of dates that name none (default: UTC)."),
        repeated("--run-type", choices=RUN_TYPES, metavar="TYPE", help=f"One of {', '.join(RUN_TYPES)}."),
        repeated("--run-state", choices=RUN_STATES, metavar="STATE", help=f"One of {', '.join(RUN_STATES)}."),
        repeated(
            "--state",
            choices=TASK_INSTANCE_STATES,
            metavar="STATE",
            help=f"Task instances in this state: {', '.join(TASK_INSTANCE_STATES)}.",
        ),
        argument(
            "--failed-from",
            metavar="TIME",
            help="Task instances that failed at this time or later, with the relatives of each.",
        ),
        argument("--failed-to", metavar="TIME", help="Task instances that failed at this time or before."),
        switch("-f", "--only-failed", help="Short for --state failed --state upstream_failed."),
        switch("-r", "--only-running", help="Short for --state running --running terminate."),
        switch("--include-setups", help="Take setups and teardowns in spite of the other filters."),
        argument("--map-index", type=int, metavar="N", help="One index of a mapped task; -1: not expanded."),
        argument(
            "--index-run-id",
            metavar="ID",
            help="The dag run whose mapping the relatives of --map-index follow; '*': all map indexes.",
        ),
        switch("-u", "--include-upstream", "--upstream", help="Take all upstream tasks too."),
        switch("-d", "--include-downstream", "--downstream", help="Take all downstream tasks too."),
        switch("--include-past", help="Take every earlier run too."),
        switch("--include-future", help="Take every later run too."),
        repeated("--exclude-task-id", metavar="ID", help="Leave this task out."),
        repeated("--exclude-run-id", metavar="ID", help="Leave this dag run out."),
        repeated(
            "--exclude-task-instance",
            nargs=3,
            metavar=("TASK_ID", "MAP_INDEX", "RUN_ID"),
            help="Leave this task instance out; the map index of an unmapped task is -1.",
        ),
        argument(
            "--running",
            choices=RUNNING_CHOICES,
            help="Whether to leave out or terminate running task instances (default: leave_out).",
        ),
        either("--run-on-latest-version", help="Run on the latest Dag version (default: as configured)."),
        either("--reset-dag-runs", help="Queue finished dag runs again (default: yes)."),
    ),
)

DAGS = Group(
    "Dags",
    (
        repeated(
            "--dag-id",
            metavar="DAG_ID",
            help="A Dag. Repeat it for more Dags. A task instance must match in each Dag.",
        ),
        argument("--dag-id-regex", metavar="RE2", help="Dags whose id matches."),
        repeated(
            "--tag",
            metavar="TAG",
            help="Dags with this tag. Repeat it for more tags: a Dag needs only one of them.",
        ),
        repeated(
            "--owner",
            metavar="NAME",
            help="Dags of this owner. Repeat it for more owners: a Dag needs only one of them.",
        ),
        argument(
            "--waiting-for",
            metavar="PLAN",
            help="Preview this plan again, together with the Dags whose sensors wait for it. The plan "
            "decides which task instances are cleared.",
        ),
        repeated(
            "--delta",
            metavar="DAG_ID:SENSOR=TIME",
            help="With --waiting-for: the execution_delta of a sensor, for example 1h, 30m or a number of "
            "seconds. 0 means the same logical date. Needed only if Airflow does not store it. Repeat it for "
            "more sensors. A sensor without a delta is left out, and the set names it.",
        ),
        repeated(
            "--without",
            metavar="DAG_ID",
            help="With --waiting-for: leave out this Dag, and Dags that wait only for it. Repeat it for "
            "more.",
        ),
    ),
)

CONFIRMATION = Group(
    "confirmation",
    (
        switch("-y", "--yes", help="Ask nothing. What a plan requires must then be given as options."),
        argument("--reason", metavar="TEXT", help="Why it is cleared. The receipt keeps it."),
        argument("--confirm-dag-id", metavar="DAG_ID", help="The Dag id, for plans above confirm_above."),
        argument(
            "--confirm-task-instances",
            type=int,
            metavar="N",
            help="The number of task instances, for change sets above confirm_above.",
        ),
        repeated(
            "--acknowledge",
            metavar="CODE",
            help="The code of a finding that you have read. For a change set also DAG_ID:CODE.",
        ),
    ),
)

WAVES = Group(
    "waves",
    (
        argument("--first-runs", type=int, metavar="N", help="Clear N dag runs first."),
        argument(
            "--then",
            choices=("ask", "go_on"),
            help="Once they are done, ask a person (default), or go on if all of them succeeded.",
        ),
        argument("--at-most-runs", type=int, metavar="N", help="At most N cleared runs unfinished at once."),
        argument("--stop-after-failed", type=int, metavar="N", help="Ask a person once N runs failed."),
        argument("--order", choices=("oldest", "newest"), help="Which runs come first (default: oldest)."),
        argument("--not-before", metavar="TIME", help="Do not begin before this time."),
        switch("--all-at-once", help="No waves, regardless of canary_above."),
    ),
)
SKIP_FAILED = switch("--skip-failed", help="Go on although runs failed. They do not count any more.")

WAIT = Group(
    "waiting",
    (
        switch(
            "--wait", help="Wait until the cleared task instances have run again. Exit with 5 if any fail."
        ),
        argument(
            "--wait-timeout",
            type=seconds,
            metavar="SECONDS",
            help="How long to wait for the clear and its re-runs together (default: no limit). "
            "The clear continues after that, and the command exits with 1.",
        ),
    ),
)

PLAN_OR_FILE = argument(
    "plan", metavar="PLAN", help="The id of a plan or a change set, or a file of `safe-clear plan -o`."
)
ROWS = argument(
    "--rows", type=int, metavar="N", help="Task instances to list at most (default: 40; 0: none)."
)
DETAILED = switch("--detailed-exitcode", help="Exit with 2 if the plan has something to clear.")
OUTPUT = argument("-o", "--output-file", metavar="FILE", help="Write the plan to a file for `apply`.")

CONNECTION = Group(
    "connection",
    (
        argument(
            "--server",
            metavar="URL",
            help="Address of the api-server, with its path (SAFE_CLEAR_SERVER).",
        ),
        argument("--token-file", metavar="FILE", help="A file with a token, which only you can read."),
        argument("--user", metavar="NAME", help="Log in with a password (SAFE_CLEAR_USER)."),
        argument("--password-file", metavar="FILE", help="A file with it, which only you can read."),
        argument("--ca", metavar="FILE", help="The certificate to trust, for a self-signed one."),
        argument(
            "--timeout",
            type=seconds,
            metavar="SECONDS",
            help="How long to wait for an answer (default: 120).",
        ),
    ),
)
OUTPUT_STYLE = Group(
    "output",
    (
        switch("--json", help="Print the server's JSON, unchanged."),
        argument(
            "--color", choices=("auto", "always", "never"), help="Colors (default: auto, see NO_COLOR)."
        ),
    ),
)

HISTORY = Group(
    "filters",
    (
        argument("--dag-id", metavar="DAG_ID", help="The Dag id."),
        argument(
            "--made-by", metavar="TEXT", help="A part of the name of the person who created or applied it."
        ),
        argument("--status", choices=tuple(map(str, ShownStatus)), help="How the plan stands."),
        argument("-s", "--date-from", metavar="DATE", help="Created on this day (UTC) or later."),
        argument("-e", "--date-to", metavar="DATE", help="Created on this day (UTC) or earlier."),
        switch("--mine", help="Only your own plans."),
        argument("--limit", type=int, metavar="N", help="Plans to list (default: 50, at most 200)."),
        argument("--offset", type=int, metavar="N", help="Plans to skip."),
    ),
)
