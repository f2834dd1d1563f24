"""The context of every command: a screen, and a client for the server that was named."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.cli import airflowctl_login, plan_file, server_address
from safe_clear_plugin.cli.client import TIMEOUT, Client
from safe_clear_plugin.cli.errors import CommandError
from safe_clear_plugin.cli.login import find_credentials
from safe_clear_plugin.cli.plan_file import PlanReference
from safe_clear_plugin.cli.screen import Screen

MAX_ROWS = 1000
"""Rows of one page of the API."""


@dataclass(frozen=True)
class Context:
    """The options of a command, and what it talks to."""

    given: argparse.Namespace
    screen: Screen
    client: Client

    def reference(self) -> PlanReference:
        """Return the plan that the command names."""
        return plan_file.resolve(self.given.plan, self.client.server)

    def plan(self, id_: str) -> Mapping[str, Any]:
        """Read a plan with its first dag runs."""
        return self.client.get(f"/plans/{path_part(id_)}.json").data


def path_part(id_: str) -> str:
    """Return an id as a part of an address.

    :raises CommandError: when it cannot be the id of a plan
    """
    if not id_ or not all(one.isalnum() or one == "-" for one in id_) or not id_.isascii():
        raise CommandError(
            f"{id_!r} is neither the id of a plan nor a file.", "`safe-clear history` lists the plans."
        )
    return id_


def open_client(given: argparse.Namespace, default_server: str | None) -> Client:
    """Return a client for the server that options, environment or airflowctl name, in this order.

    A ``default_server`` takes the place of airflowctl's.

    :raises CommandError: when an address, a certificate or a secret cannot be used
    """
    named = given.server or os.environ.get("SAFE_CLEAR_SERVER") or default_server
    named = named or airflowctl_login.server() or server_address.DEFAULT
    client = Client(
        server_address.normalize(named),
        ca=given.ca or os.environ.get("SAFE_CLEAR_CA") or None,
        timeout=given.timeout if given.timeout is not None else TIMEOUT,
    )
    client.credentials = find_credentials(
        client.server,
        token_file=given.token_file,
        user=given.user,
        password_file=given.password_file,
        login=client.login,
    )
    return client
