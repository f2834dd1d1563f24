"""The examples of docs/automation.md, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.cli.airflow_side import CLEARED, FAILED, set_state, states_of
from tests.cli.running import COMMAND, SafeClear
from tests.support.server import REPOSITORY

RERUN = {"load": "success", "report": "success"}
PAGE = REPOSITORY / "docs" / "automation.md"


def examples(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def on_path(safe_clear, tmp_path):
    """Return the command line of the admin, with `safe-clear` as a program in the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "safe-clear"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    return safe_clear.having(PATH=f"{folder}{os.pathsep}{os.environ['PATH']}")


def steps(job, safe_clear: SafeClear, **environment):
    """Run the steps of a job of the workflow as GitHub does; return the exit code of the first that fails.

    The file `log` has their output.
    """
    [workflow] = examples("yaml")
    for step in yaml.safe_load(workflow)["jobs"][job]["steps"]:
        if "run" not in step or step["run"].startswith("pip install"):
            continue
        with (safe_clear.folder / "log").open("a") as log:
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
                cwd=safe_clear.folder,
                env={**safe_clear.environment, **environment},
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode:
            return done.returncode
    return 0


def test_the_workflow_plans_and_applies_what_was_planned(on_path, new_days, airflow_server):
    [day] = new_days(1)
    folder = on_path.folder
    given = {
        "DAG_ID": "cli_etl",
        "DATE_FROM": day,
        "DATE_TO": day,
        "REASON": "late files",
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
    }
    assert steps("plan", on_path, **given) == 0
    assert (folder / "output").read_text() == "changes=true\n"
    assert "~ load" in (folder / "summary").read_text()
    assert states_of(airflow_server, day) == FAILED
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(steps, "apply", on_path, **given)
        cleared = {**CLEARED, "extract": "success"}
        airflow_server.wait_until(lambda: states_of(airflow_server, day) == cleared, "it is cleared")
        set_state(airflow_server, day, RERUN)
        assert applied.result(120) == 0


HOSTILE = """#!/bin/sh
echo '::add-mask::x'
echo '::error::y' >&2
echo '```'
exit {code}
"""


@pytest.mark.parametrize(("job", "code"), [("plan", 2), ("apply", 0), ("plan", 3), ("apply", 5)])
def test_the_workflow_lets_github_read_no_command_in_what_is_printed(on_path, tmp_path, job, code):
    """Each text of a Dag author is only a line of the plan."""
    (tmp_path / "bin" / "safe-clear").write_text(HOSTILE.format(code=code))
    given = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    steps(job, on_path, DAG_ID="x", DATE_FROM="x", DATE_TO="x", REASON="x", **given)
    heeded, stopped_by = [], ""
    for line in (tmp_path / "log").read_text().splitlines():
        if stopped_by:
            stopped_by = "" if line.strip() == f"::{stopped_by}::" else stopped_by
        elif found := re.match(r"::stop-commands::(\S{20,})$", line.strip()):
            stopped_by = found[1]
        elif line.strip().startswith("::"):
            heeded.append(line)
    assert heeded == []
    assert "::add-mask::x" in (tmp_path / "log").read_text()
    if job == "plan":
        summary = (tmp_path / "summary").read_text()
        assert all(line.startswith("    ") for line in summary.splitlines())


def test_the_workflow_of_nothing_and_of_an_error_does_not_go_on(on_path, new_days):
    folder = on_path.folder
    given = {"DAG_ID": "cli_etl", "DATE_FROM": "2026-03-01", "DATE_TO": "2025-03-01", "REASON": "x"}
    given |= {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
    assert steps("plan", on_path, **given) == 1
    assert not (folder / "output").exists()


ASK_SENSOR = """
import os, runpy, sys

decided = runpy.run_path(sys.argv[1])["rerun_failed"]().get_task("decided").python_callable
for code in sys.argv[2:]:
    os.environ["CODE"] = code
    try:
        print(decided("x"))
    except RuntimeError as error:
        print(error)
"""


def test_the_sensor_of_the_dag_takes_no_error_for_a_decision(airflow_server, tmp_path):
    [source] = [one for one in examples("python") if "@dag" in one]
    (tmp_path / "rerun_failed.py").write_text(source)
    program = tmp_path / "safe-clear"
    program.write_text("#!/bin/sh\nprintf 'Ended with %s' $CODE >&2\nexit $CODE\n")
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", ASK_SENSOR, str(tmp_path / "rerun_failed.py"), *"204351"],
        env={**airflow_server.environment, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-6:] == ["False", "True", "False", "True", "True", "Ended with 1"]


RUN_DAG = """
import json, runpy, sys
from airflow.utils.session import create_session
from tests.support.dag_files import store_dag_files

with create_session(scoped=False) as session:
    store_dag_files(session)
runpy.run_path(sys.argv[1])["rerun_failed"]().test(run_conf=json.loads(sys.argv[2]))
"""


def test_the_dag_plans_and_waits_for_a_person(on_path, new_days, airflow_server, tmp_path):
    [day] = new_days(1)
    [source] = [one for one in examples("python") if "@dag" in one]
    file = airflow_server.dags_folder / "rerun_failed.py"
    file.write_text(source)
    secret = tmp_path / "token"
    secret.touch(mode=0o600)
    secret.write_text(airflow_server.token("admin"))
    conf = {"dag_id": "cli_etl", "date_from": day, "date_to": day}
    with (tmp_path / "dag.log").open("w") as log:
        run = subprocess.Popen(
            [sys.executable, "-c", RUN_DAG, str(file), json.dumps(conf)],
            env={
                **airflow_server.environment,
                "PATH": on_path.environment["PATH"],
                "SAFE_CLEAR_SERVER": airflow_server.url,
                "SAFE_CLEAR_TOKEN_FILE": str(secret),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _decide(on_path, airflow_server, day)
            assert run.wait(240) == 0, (tmp_path / "dag.log").read_text()
        finally:
            run.kill()
            run.wait()
    runs = airflow_server.api("GET", "/api/v2/dags/rerun_failed/dagRuns").json()["dag_runs"]
    assert [one["state"] for one in runs] == ["success"]


def _decide(safe_clear, airflow_server, day):
    """Be the person who applies the plan of the Dag, and then the scheduler that runs what was cleared."""
    found = []

    def planned():
        listed = safe_clear("history", "--json", "--status", "ready", "--dag-id", "cli_etl").json["items"]
        found[:] = [one["id"] for one in listed if day in one["sentence"]]
        return bool(found)

    airflow_server.wait_until(planned, "the Dag has planned")
    operator = safe_clear.having(SAFE_CLEAR_TOKEN=airflow_server.token("operator"))
    assert operator("apply", found[0], "-y").code == 0
    set_state(airflow_server, day, RERUN)


def test_the_tool_of_an_agent_plans_and_can_name_no_other_command_server_or_file(
    on_path, new_days, airflow_server, monkeypatch
):
    [day] = new_days(1)
    [source] = [one for one in examples("python") if "preview_clear" in one]
    for name in ("PATH", "PYTHONPATH", "SAFE_CLEAR_SERVER", "SAFE_CLEAR_TOKEN"):
        monkeypatch.setenv(name, on_path.environment[name])
    tool = {}
    exec(source, tool)
    found = tool["preview_clear"](
        "cli_etl", only_failed=True, date_from=day, date_to=day, include_upstream=False
    )
    assert found["exit_code"] == 0, found
    assert found["answer"]["counts"]["task_instances"] == 2
    assert tool["preview_clear"]("--server=http://localhost:1", date_from=day)["exit_code"] == 1
    assert "-o" in tool["preview_clear"]("-o", date_from=day)["error"]
    with pytest.raises(ValueError, match="output_file"):
        tool["preview_clear"]("cli_etl", output_file="x")
    assert states_of(airflow_server, day) == FAILED


def test_an_agent_with_the_token_of_a_viewer_reads_and_cannot_plan(on_path, new_days, airflow_server):
    [day] = new_days(1)
    id_ = on_path("plan", "cli_etl", "-s", day, "-e", day, "--json").json["id"]
    viewer = on_path.having(SAFE_CLEAR_TOKEN=airflow_server.token("viewer"))
    for command in (("show", id_), ("status", id_), ("history",)):
        assert viewer(*command).code == 0
    for command in (("plan", "cli_etl", "-s", day), ("apply", id_, "-y"), ("stop", id_), ("undo", id_, "-y")):
        assert viewer(*command).code == 1, command
    assert states_of(airflow_server, day) == FAILED
