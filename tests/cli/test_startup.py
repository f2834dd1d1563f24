"""What the command line loads, its usage, its completion, and ``airflow safe-clear``."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from safe_clear_plugin.cli.arguments import SELECTION
from safe_clear_plugin.cli.command_list import COMMANDS
from safe_clear_plugin.cli.commands import RUN
from safe_clear_plugin.cli.parser import build_parser
from safe_clear_plugin.cli.selection_body import SHORT_FORMS
from safe_clear_plugin.web.api.bodies import SelectionRequest
from tests.support.server import REPOSITORY

LOADED = """
import sys
from safe_clear_plugin.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(sorted(name for name in sys.modules if name.partition(".")[0] in {heavy}), file=sys.stderr)
"""


def loaded(heavy, *arguments):
    """Return which of these packages a command imports."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.replace("{heavy}", repr(heavy)), *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.splitlines()[-1]


def test_a_command_needs_no_airflow_and_no_database():
    heavy = {"airflow", "sqlalchemy", "flask", "pydantic", "fastapi"}
    assert loaded(heavy, "history", "--server", "http://localhost:1") == "[]"


def test_help_and_completion_load_no_http_client():
    assert loaded({"airflow", "httpx", "rich", "tenacity", "pydantic"}, "plan", "--help") == "[]"


def test_there_is_a_command_for_each_declared_one():
    assert set(RUN) == {command.name for command in COMMANDS}


def test_each_field_of_a_selection_has_an_option():
    """A field of the JSON that has none would be out of reach; an option that is none would be refused."""
    options = {one.dest for one in SELECTION.arguments} | {"dag_id"}
    assert options - set(SHORT_FORMS) == set(SelectionRequest.model_fields)


@pytest.mark.parametrize(
    "arguments",
    [(), ("nowhere",), ("plan",), ("plan", "x", "--run", "y"), ("plan", "x", "--state", "lost"), ("show",)]
    + [("history", "--timeout", text) for text in ("0", "-1", "nan", "inf", "soon")]
    + [("status", "x", "--wait-timeout", "0")],
    ids=str,
)
def test_wrong_usage_exits_with_1_since_2_means_changes(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(arguments)
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert "usage: safe-clear" in shown.err
    assert shown.out == ""


def test_the_shell_completes_commands_and_options():
    line = "safe-clear plan x --include-"
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_STDOUT_FILENAME": os.devnull,
    }
    code = "import sys; from safe_clear_plugin.cli.main import main; main()"
    done = subprocess.run(
        ["bash", "-c", f"exec 8>&1 9>&2; {sys.executable} -c '{code}'"],
        env={name: value for name, value in environment.items() if name != "_ARGCOMPLETE_STDOUT_FILENAME"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "--include-downstream" in done.stdout
    assert "--include-future" in done.stdout


@pytest.mark.airflow32
def test_airflow_safe_clear_is_the_same_and_exits_the_same(airflow_server, new_days, tmp_path):
    [day] = new_days(1)
    environment = {**airflow_server.environment, "SAFE_CLEAR_TOKEN": airflow_server.token("admin")}

    def airflow(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "airflow", "safe-clear", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    made = airflow("plan", "cli_etl", "-s", day, "-e", day, "-o", "plan.json", "--detailed-exitcode")
    assert made.returncode == 2, made.stderr
    assert "~ load" in made.stdout
    # The server is Airflow's own `[api] base_url`.
    assert json.loads((tmp_path / "plan.json").read_text())["server"] == airflow_server.url
    assert airflow("plan", "cli_locked", "-s", "2026-03-01").returncode == 3
