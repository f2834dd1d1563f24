"""What is built carries all that the pages need, and loads beside Airflow in an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = shutil.which("uv") or str(ROOT / ".uv/bin/uv")

LOAD_THE_PAGE = """
import re, sys
import safe_clear_plugin
from airflow.utils.db import initdb
from airflow.api_fastapi.app import init_auth_manager
from airflow.providers.fab.www.app import create_app
from fastapi import FastAPI

initdb()
init_auth_manager(FastAPI())
app = create_app(enable_plugins=True)
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="admin", role="admin"))
client = app.test_client()
client.set_cookie("_token", token)
links = []
for address, heading in (("/safe_clear/", "What failed"), ("/safe_clear/select", "What should run again?")):
    page = client.get(address)
    assert page.status_code == 200, page.text
    assert heading in page.text
    links += re.findall(r'(?:src|href)="(/safe_clear/static/[^"]+)"', page.text)
assert len(links) == 4, links
for link in links:
    assert client.get(link).status_code == 200, link
print("loaded from", safe_clear_plugin.__file__)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the sdist, and the wheel from it."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([UV, "build", "--quiet", "--out-dir", str(out), str(ROOT)], check=True)
    return out


PICTURES = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "screenshots").iterdir()}


def names_of(path):
    if path.suffix == ".whl":
        return set(zipfile.ZipFile(path).namelist())
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def tracked(folder):
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_carries_everything(built):
    [wheel] = built.glob("*.whl")
    names = names_of(wheel)
    assert tracked("safe_clear_plugin") <= names
    for folder in ("templates", "static", "docs"):
        assert {f"safe_clear_plugin/{name}" for name in tracked(folder) - PICTURES} <= names
    assert "safe_clear_plugin/py.typed" in names
    assert not [name for name in names if name.startswith(("templates/", "static/", "tests/", "demo/"))]


def test_the_sdist_carries_everything(built):
    [sdist] = built.glob("*.tar.gz")
    names = names_of(sdist)
    for folder in ("safe_clear_plugin", "templates", "static", "docs"):
        assert tracked(folder) - PICTURES <= names
    assert {
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "LICENSE",
        "pyproject.toml",
    } <= names


def test_the_metadata_says_what_a_company_asks(built):
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = BytesParser().parsebytes(archive.read(name))
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Requires-Dist" in metadata
    [airflow] = [one for one in metadata.get_all("Requires-Dist") if one.startswith("apache-airflow>")]
    assert airflow == "apache-airflow>=3.2"
    classifiers = metadata.get_all("Classifier")
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)} <= set(classifiers)


def test_the_description_has_no_link_that_the_package_index_cannot_follow(built):
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        description = BytesParser().parsebytes(archive.read(name)).get_payload()
    links = re.findall(r"\]\(([^)]*)\)", description)
    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def python_of(venv):
    return venv / "bin/python"


def load_the_page(python, home):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    environment |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__AUTH_MANAGER": (
            "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
        ),
    }
    return subprocess.run(
        [str(python), "-c", LOAD_THE_PAGE],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def run_the_console_script(venv):
    """Check that it starts without Airflow, and is found as a command of Airflow's."""
    script = venv / "bin/safe-clear"
    # Python says on the standard error which modules it imports.
    shown = subprocess.run(
        [str(venv / "bin/python"), "-X", "importtime", str(script), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "usage: safe-clear" in shown.stdout
    assert " safe_clear_plugin.cli.parser" in shown.stderr
    assert not re.search(r"\| +(airflow|sqlalchemy|flask|httpx|rich)(\.|$)", shown.stderr, re.MULTILINE)
    down = subprocess.run(
        [str(script), "history", "--server", "http://localhost:1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (down.returncode, "Can't connect" in down.stderr) == (1, True), down.stderr


def test_the_wheel_works_in_a_fresh_environment(built, tmp_path):
    [wheel] = built.glob("*.whl")
    venv = tmp_path / "venv"
    requirements = tmp_path / "requirements.txt"
    # The versions of the lock, so that what this shows does not change with the day.
    subprocess.run(
        [
            *(UV, "export", "--quiet", "--frozen", "--no-dev", "--group", "airflow33", "--no-emit-project"),
            *("--no-hashes", "--output-file", str(requirements), "--project", str(ROOT)),
        ],
        check=True,
    )
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    install = [UV, "pip", "install", "--quiet", "--python", str(python_of(venv))]
    subprocess.run([*install, "--requirements", str(requirements)], check=True)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    home = tmp_path / "home"
    home.mkdir()
    done = load_the_page(python_of(venv), home)
    assert done.returncode == 0, done.stderr[-3000:]
    assert str(venv) in done.stdout
    run_the_console_script(venv)
    check = subprocess.run(
        [UV, "pip", "check", "--python", str(python_of(venv))], capture_output=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_an_editable_install_works(tmp_path):
    """The environment that runs the tests is one."""
    done = load_the_page(sys.executable, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert str(ROOT / "safe_clear_plugin") in done.stdout


def test_the_plugin_brings_nothing_heavy_to_airflows_start(tmp_path):
    """Every component loads the metadata and the plugin: of ours, these modules and no more."""
    code = (
        "import sys, airflow.plugins_manager; before = set(sys.modules);"
        "import safe_clear_plugin.plugin, safe_clear_plugin.provider_info as i; i.get_provider_info();"
        "ours = {name for name in sys.modules if name.startswith('safe_clear_plugin')};"
        "print(sorted(ours), sorted(set(sys.modules) - before - ours))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().splitlines()[-1] == (
        "['safe_clear_plugin', 'safe_clear_plugin.airflow_api', 'safe_clear_plugin.airflow_api.auth', "
        "'safe_clear_plugin.airflow_api.auth.asgi_scope', 'safe_clear_plugin.airflow_api.driver_middleware', "
        "'safe_clear_plugin.plugin', 'safe_clear_plugin.provider_info'] []"
    )
