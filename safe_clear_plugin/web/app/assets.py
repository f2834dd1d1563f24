"""Styles and scripts: one style and one script for each page, joined from ``static/`` and named by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["css", "js"]

EVERY_STYLE = ("tokens", "safe-clear")
EVERY_SCRIPT = ("color-mode", "safe-clear", "place", "send", "copy")
"""Run before the page is painted, and before one of its forms can be sent."""


@dataclass(frozen=True, slots=True)
class Assets:
    """A page's own styles and scripts; these scripts run once the page has been read."""

    styles: Sequence[str] = ()
    scripts: Sequence[str] = ()


PAGES = {
    "page": Assets(),
    "change-set": Assets(["waves", "confirm", "findings", "change-set"], ["waves", "change-set", "approval"]),
    "change-set-progress": Assets(["waves", "change-set"], ["waves", "change-set", "follow"]),
    "change-set-receipt": Assets(["confirm", "change-set"], ["progress"]),
    "change-set-undo": Assets(["undo", "change-set"], ["undo"]),
    "declined": Assets(["confirm"]),
    "failed": Assets(["failed"], ["failed", "roving"]),
    "finding": Assets(["findings"]),
    "help": Assets(["help"]),
    "history": Assets(["history"]),
    "plan": Assets(
        ["waves", "confirm", "findings", "grid", "table"],
        ["waves", "plan", "table", "grid", "approval", "roving", "preview"],
    ),
    "progress": Assets(["waves"], ["waves", "follow"]),
    "receipt": Assets(["waves", "confirm", "grid"], ["progress", "grid"]),
    "select": Assets(["select"], ["select", "tree", "combobox", "answers", "roving"]),
    "waiting": Assets(["waiting"], ["waiting"]),
    "undo": Assets(["undo", "grid"], ["undo", "countdown", "grid", "roving"]),
}
"""The assets by the name that a template gives in ``assets``."""

FOR_EVER = "public, max-age=31536000, immutable"
MIMETYPES: dict[Kind, str] = {"css": "text/css", "js": "text/javascript"}

_OPENING = """(() => {
const run = (part) => { try { part(); } catch (error) { reportError(error); } };
const ready = (part) => document.addEventListener("DOMContentLoaded", part, { capture: true, once: true });
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A style or a script, with the digest in its address."""

    content: bytes
    digest: str


@cache
def bundles(folder: Path) -> dict[tuple[str, Kind], Bundle]:
    """Return every style and script by the name of its page, joined once from the files in ``folder``."""
    return {
        (page, kind): _bundle(folder, assets, kind)
        for page, assets in PAGES.items()
        for kind in get_args(Kind)
    }


def digest(content: bytes) -> str:
    """Return the digest of a content, for an address."""
    return hashlib.sha256(content).hexdigest()[:16]


@cache
def file_digest(path: Path) -> str:
    """Return the digest of one file."""
    return digest(path.read_bytes())


def _bundle(folder: Path, assets: Assets, kind: Kind) -> Bundle:
    parts = _styles(folder, assets) if kind == "css" else _scripts(folder, assets)
    content = "".join(parts).encode()
    return Bundle(content, digest(content))


def _styles(folder: Path, assets: Assets) -> Iterator[str]:
    for name in (*EVERY_STYLE, *assets.styles):
        yield (folder / f"{name}.css").read_text(encoding="utf-8")


def _scripts(folder: Path, assets: Assets) -> Iterator[str]:
    """Yield each script as a function of its own: after a script that fails, the next one still runs."""
    yield _OPENING
    for when, names in (("run", EVERY_SCRIPT), ("ready", assets.scripts)):
        for name in names:
            yield f"{when}(() => {{\n{(folder / f'{name}.js').read_text(encoding='utf-8')}}});\n"
    yield "})();\n"
