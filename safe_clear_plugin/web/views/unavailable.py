"""The only page when Safe Clear cannot be imported: one sentence, on every address and for every method.

Imports neither the adapter nor anything above it, since that is what failed.
"""

from __future__ import annotations

import logging
import re
from typing import Any, cast

from flask import Blueprint, jsonify, request
from flask_appbuilder import BaseView, expose
from markupsafe import escape

log = logging.getLogger(__name__)

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REMEDY = (
    "Upgrade Safe Clear to a version that supports this Airflow. Until then it clears and undoes nothing. "
    "The api-server's log has the full error."
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Safe Clear is not available</title></head>
<body><h1>Safe Clear is not available</h1><p>{error}</p><p>{remedy}</p></body></html>"""


class UnavailableView(BaseView):
    """Says why Safe Clear cannot be used here."""

    route_base = "/safe_clear"
    default_view = "explain"

    def __init__(self, error: Exception, airflow_version: str) -> None:
        """Keep the error as a sentence, and log it."""
        super().__init__()
        # Python adds the path of the file, which is for the log alone: anybody may read this page.
        reason = re.sub(r" \(\S*\)$", "", str(error))
        self.sentence = f"Safe Clear does not work with Airflow {airflow_version}: {reason}."
        log.error("%s", self.sentence, exc_info=error)

    def create_blueprint(self, appbuilder: Any, endpoint: Any = None, static_folder: Any = None) -> Blueprint:
        """Make the blueprint; it does nothing, so it asks for no token either."""
        blueprint = super().create_blueprint(appbuilder, endpoint, static_folder)
        blueprint.record_once(lambda state: _exempt(state.app, blueprint))
        return cast(Blueprint, blueprint)

    @expose("/", methods=METHODS)
    @expose("/<path:address>", methods=METHODS)
    def explain(self, address: str = "") -> Any:
        """Answer any request with the sentence."""
        best = request.accept_mimetypes.best_match(["text/html", "application/json"], default="text/html")
        if request.is_json or address.endswith(".json") or best == "application/json":
            body = {"error": self.sentence, "remedy": REMEDY, "code": "unsupported_airflow"}
            return jsonify(body), 409
        return PAGE.format(error=escape(self.sentence), remedy=escape(REMEDY)), 409


def _exempt(app: Any, blueprint: Blueprint) -> None:
    if csrf := app.extensions.get("csrf"):
        csrf.exempt(blueprint)
