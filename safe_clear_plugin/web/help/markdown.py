"""Renders the Markdown of the documentation as HTML that the pages' content security policy allows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

AddressOf = Callable[[str], str]
"""Returns the address that a link leads to; empty where it leads nowhere from a page."""

PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")
LEADING = re.compile(r"\*\*(?P<bold>[^*]+)\*\*")


def to_html(text: str, address_of: AddressOf) -> Markup:
    """Return a document as HTML; headings, and items that begin in bold, have an id for links to them."""
    tokens = PARSER.parse(text)
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[number + 1].content))
        elif token.type == "list_item_open" and (name := _item_name(tokens[number + 1 : number + 3])):
            token.attrSet("id", name)
        elif token.type == "table_open":
            # A wide table scrolls, which a keyboard must reach.
            token.attrSet("tabindex", "0")
        elif token.type in ("th_open", "td_open"):
            # The alignment of a column is an inline style, which the policy forbids.
            token.attrs = {"scope": "col"} if token.type == "th_open" else {}
        elif token.children:
            token.children = _inline(token.children, address_of)
    # The renderer escapes all text; `html` is off.
    return Markup(PARSER.renderer.render(tokens, PARSER.options, {}))  # noqa: S704


def title_of(text: str) -> str:
    """Return the title of a document."""
    return text.partition("\n")[0].removeprefix("# ")


def anchor(text: str) -> str:
    """Return the id of a heading, as GitHub makes it."""
    kept = re.sub(r"[^\w\s-]", "", text.lower())
    return re.sub(r"\s", "-", kept.strip())


def _item_name(after: Sequence[Token]) -> str:
    """Return the id of a list item, from the paragraph that it begins with."""
    found = next((LEADING.match(token.content) for token in after if token.type == "inline"), None)
    return anchor(found["bold"]) if found else ""


def _inline(tokens: Sequence[Token], address_of: AddressOf) -> list[Token]:
    """Return a line without images, and with a link only where it leads to a page."""
    kept: list[Token] = []
    leads = False
    for token in tokens:
        if token.type == "link_open":
            address = address_of(str(token.attrGet("href")))
            leads = bool(address)
            token.attrSet("href", address)
        is_link = token.type in ("link_open", "link_close")
        if token.type != "image" and (leads or not is_link):
            kept.append(token)
    return kept
