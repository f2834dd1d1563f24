"""Records the terminal session of docs/cli.md, against a whole Airflow of its own.

To run: `.venv/bin/python -m tests.cli.record_session`.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.cli.running import COMMAND, SafeClear
from tests.support.server import AirflowServer

DAGS = Path(__file__).parents[1] / "browser" / "sales_dags"
BEHIND = ("scheduler", "dag-processor")


def record(shell: SafeClear, commands: list[str]) -> None:
    """Run each command and print it with what it printed, as a terminal shows both streams."""
    for command in commands:
        done = subprocess.run(
            [*COMMAND, *shlex.split(command)[1:]],
            cwd=shell.folder,
            env={**shell.environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(f"$ {command}\n{done.stdout.rstrip()}\n$ echo $?\n{done.returncode}\n", flush=True)


def main() -> None:
    """Plan, apply, wait, look, and undo."""
    today = datetime.now(timezone.utc)
    day = f"{today - timedelta(days=2):%Y-%m-%d}"
    older = f"{today - timedelta(days=7):%Y-%m-%d}"
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        server = AirflowServer(f"sqlite:///{home}/airflow.db", DAGS)
        try:
            server.prepare("tests.browser.prepare", "sales", f"{today:%Y-%m-%d}")
            server.start(BEHIND, ("sales_etl",))
            token = server.token("admin")
            record(
                SafeClear(Path(folder), SAFE_CLEAR_SERVER=server.url, SAFE_CLEAR_TOKEN=token),
                [
                    f"safe-clear plan sales_etl -f -s {day} -e {day} -o plan.json --detailed-exitcode",
                    "safe-clear apply plan.json --yes --reason 'the source is fixed' --wait",
                    f"safe-clear plan sales_etl -f -s {day} -e {day} --detailed-exitcode",
                    f"safe-clear plan sales_etl -t 'rates$' -s {older} -e {older} -d -o wrong.json --rows 3",
                    "safe-clear apply wrong.json --yes",
                    "safe-clear undo wrong.json --yes --reason 'that was the wrong week'",
                    "safe-clear history --dag-id sales_etl",
                ],
            )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
