"""What the plugin adds to an api-server: to its start, its memory, and requests that are not its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import median
from typing import Any

from bench.databases import BenchServer
from bench.workers import DATABASE

TIMES = 3
EMPTY_PLUGIN = '''
"""A plugin with one page that is empty."""

from airflow.plugins_manager import AirflowPlugin


class Views:
    def __get__(self, instance, owner=None):
        from flask_appbuilder import BaseView, expose

        class Empty(BaseView):
            default_view = "nothing"

            @expose("/")
            def nothing(self):
                return ""

        return [{"view": Empty()}]


class EmptyPlugin(AirflowPlugin):
    name = "empty"
    appbuilder_views = Views()
'''
WHATS = ("no plugin", "a plugin with an empty page", "Safe Clear")


def rows(server: BenchServer) -> list[dict[str, Any]]:
    """Measure an api-server's app without a plugin, with an empty one, and with ours."""
    found: dict[str, list[dict[str, Any]]] = {what: [] for what in WHATS}
    with server.copy(DATABASE):
        for _ in range(TIMES):
            for what in WHATS:
                found[what].append(_measure(server, what))
    return [
        {"what": what, **{name: median(row[name] for row in rows_) for name in rows_[0]}}
        for what, rows_ in found.items()
    ]


def _measure(server: BenchServer, what: str) -> dict[str, Any]:
    plugins = _plugins_folder(server.home, empty=what == WHATS[1])
    with_ours = "yes" if what == WHATS[2] else "no"
    printed = server.run(
        DATABASE, "-m", "bench.starting", with_ours, AIRFLOW__CORE__PLUGINS_FOLDER=str(plugins)
    )
    row: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return row


def _plugins_folder(home: Path, *, empty: bool) -> Path:
    folder = home / "plugins"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if empty:
        (folder / "empty.py").write_text(EMPTY_PLUGIN)
    return folder
