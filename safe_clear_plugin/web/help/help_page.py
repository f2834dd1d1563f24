"""Renders a page of the documentation, which is installed with Safe Clear."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.help import markdown


def help_page(name: str) -> Any:
    """Render a page by its path in ``docs``, without ``.md``.

    :raises Refused: 404 when there is none
    """
    if not has_help(name):
        raise Refused(404, Problem("This page of the documentation doesn't exist.", ""))
    text = _pages()[name].read_text(encoding="utf-8")
    html = markdown.to_html(text, lambda target: _address(name, target))
    return templating.render("help.html", title=_plain(markdown.title_of(text)), html=html)


def has_help(name: str) -> bool:
    """Whether the documentation has a page of this name."""
    return name in _pages()


@cache
def _pages() -> dict[str, Path]:
    """Return the files of the documentation by their names: no other file can be asked for."""
    docs = templating.template_dir("docs")
    return {path.relative_to(docs).with_suffix("").as_posix(): path for path in docs.glob("**/*.md")}


def _address(page: str, target: str) -> str:
    """Return the address of a link: another page of the documentation, or nothing."""
    path, _, fragment = target.partition("#")
    if not path:
        return f"#{fragment}"
    name = normpath(join(dirname(page), path)).removesuffix(".md")
    if ":" in path or not path.endswith(".md") or not has_help(name):
        return ""
    return templating.url("help_page", page=name) + (f"#{fragment}" if fragment else "")


def _plain(words: str) -> str:
    return re.sub(r"[`*]", "", words)
