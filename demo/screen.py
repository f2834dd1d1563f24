"""What the demo says in the terminal."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from users import USERS

TRY = (
    (
        "Clear by regex and dates",
        "sales_etl → Safe Clear → Edit selection: tasks ^load\\.per_region$, the last three days. cluster.up "
        "and cluster.down are cleared too. The report made from the load goes stale. At most four runs are "
        "active.",
    ),
    (
        "Take it back",
        "sales_etl, every task of the last two weeks: stop it half-way, resume, then undo. All but the few "
        "task instances that have started return to what they were. The History remembers it.",
    ),
    (
        "Repair a failed night",
        "ledger_daily: the third account did not balance some nights ago. Select failed and upstream_failed.",
    ),
    (
        "Catch a task running",
        "warehouse_maintenance.vacuum takes five minutes and is running now. Left out, or terminated?",
    ),
    (
        "Runs without a logical date",
        "finance_report and ml_features are started by assets: select them by run_after, or by name.",
    ),
    (
        "A schedule with holes",
        "Eleven days ago the scheduler was down for a night: no clear can make runs that do not exist.",
    ),
    (
        "Stay out of it",
        "As operator, the platform team's Dags are not there. As viewer, everything is, and nothing can be "
        "cleared.",
    ),
    ("Paused", "legacy_export: what is cleared there waits until somebody unpauses it."),
)


def say(text: str = "") -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def welcome(url: str, seconds: float, logs: Path) -> None:
    """Print where to go, as whom, and what to try."""
    say()
    say(_bold(f"  Airflow with Safe Clear is ready after {seconds:.0f} s"))
    say()
    say(f"    Airflow     {url}/")
    say(f"    Safe Clear  {url}/pluginsv2/safe_clear/")
    say()
    say(_bold("  Log in (the password is the user name)"))
    say()
    for user in USERS:
        say(f"    {user.username:<10}  {user.may}")
    say()
    say(_bold("  Try"))
    for title, text in TRY:
        say()
        say(f"    {_bold(title)}")
        for line in _wrapped(text):
            say(f"    {line}")
    say()
    say(f"  Logs are in {logs}")
    say("  Ctrl-C stops everything; the data stays for the next start.")
    say()


def component_died(name: str, exit_code: int, log: Path, tail: str) -> None:
    """Print the end of the log of a process that ended by itself."""
    say()
    say(_bold(f"  {name} has ended with exit code {exit_code}. The end of {log}:"))
    say()
    for line in tail.splitlines():
        say(f"    {line}")
    say()


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, width=92)
