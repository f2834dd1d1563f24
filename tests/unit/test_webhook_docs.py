"""The page about the webhook: its examples are messages, and its code verifies one."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from uuid import uuid4

import pytest

from safe_clear_plugin.core.stop_reason import StopKind
from safe_clear_plugin.core.waves import WaveReason
from safe_clear_plugin.core.webhook import Event, Message, signed_headers
from safe_clear_plugin.core.webhook_text import lines
from safe_clear_plugin.provider_info import get_provider_info

PAGE = (Path(__file__).parents[2] / "docs" / "webhook.md").read_text()
SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a plain secret")


def block(kind: str) -> str:
    """Return the page's block of this kind."""
    found = re.search(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found, kind
    return found[1]


EXAMPLE = json.loads(block("json"))
DIFFERENCES = json.loads(block("json events"))


def test_the_example_is_a_message_field_by_field():
    assert Message.model_validate(EXAMPLE).model_dump(mode="json") == EXAMPLE


@pytest.mark.parametrize("differs", DIFFERENCES, ids=lambda one: one["event"])
def test_each_event_has_an_example_that_is_a_message(differs):
    assert set(differs) <= set(EXAMPLE)
    message = Message.model_validate({**EXAMPLE, "stop_reason": None, **differs})
    assert lines(message)


def test_each_event_is_in_the_table_and_among_the_examples():
    table = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Events")[2].partition("A message:")[0], re.M)
    assert table == [one["event"] for one in DIFFERENCES]
    assert set(table) == set(Event)


def test_each_field_and_each_kind_of_stop_is_named():
    fields = PAGE.partition("| field |")[2].partition("What differs")[0]
    names = set(re.findall(r"`(\w+)`", fields))
    assert set(Message.model_fields) <= names
    assert {kind.value for kind in (*StopKind, *WaveReason)} <= names


def test_each_option_is_named_and_the_secret_ones_are_sensitive():
    options = get_provider_info()["config"]["safe_clear"]["options"]
    ours = {name for name in options if name.startswith("webhook_")}
    assert all(f"| `{name}` |" in PAGE for name in ours)
    assert {name for name in ours if options[name].get("sensitive")} == {"webhook_url", "webhook_secret"}


def test_the_text_of_slack_is_that_of_the_example():
    assert block("text slack").splitlines() == lines(Message.model_validate(EXAMPLE))


@pytest.mark.parametrize("secret", SECRETS)
def test_the_code_of_the_page_verifies_what_is_signed_and_nothing_else(secret):
    code: dict[str, object] = {}
    exec(block("python"), code)
    is_genuine = code["is_genuine"]
    assert callable(is_genuine)
    body, at = json.dumps(EXAMPLE).encode(), int(time.time())
    headers = signed_headers(uuid4(), at, body, secret)
    assert is_genuine(headers, body, secret)
    assert not is_genuine(headers, body + b" ", secret)
    assert not is_genuine(headers, body, "another")
    assert not is_genuine({**headers, "webhook-id": str(uuid4())}, body, secret)
    assert not is_genuine({**headers, "webhook-timestamp": str(at - 60)}, body, secret)
    old = signed_headers(uuid4(), at - 3600, body, secret)
    assert not is_genuine(old, body, secret)
