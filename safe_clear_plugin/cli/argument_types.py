"""Kinds of arguments: a value, a switch, a repeated option, a group."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Argument:
    """An argument of a command; ``options`` are those of ``argparse``."""

    flags: tuple[str, ...]
    options: Mapping[str, Any]

    @property
    def dest(self) -> str:
        """The name of its value after parsing."""
        name = next((flag for flag in self.flags if flag.startswith("--")), self.flags[0])
        return str(self.options.get("dest") or name.lstrip("-").replace("-", "_"))


@dataclass(frozen=True)
class Group:
    """Arguments that belong together."""

    title: str
    arguments: tuple[Argument, ...]


def argument(*flags: str, **options: Any) -> Argument:
    """Declare an argument."""
    return Argument(flags, options)


def switch(*flags: str, **options: Any) -> Argument:
    """Declare an option without a value; ``None`` where it is not given."""
    return Argument(flags, {"action": "store_true", "default": None, **options})


def repeated(*flags: str, **options: Any) -> Argument:
    """Declare an option that can be given several times."""
    return Argument(flags, {"action": "append", **options})


def either(*flags: str, **options: Any) -> Argument:
    """Declare an option with a ``--no-`` form; ``None`` where neither is given."""
    return Argument(flags, {"action": argparse.BooleanOptionalAction, "default": None, **options})


def seconds(text: str) -> float:
    """Read a number of seconds.

    :raises argparse.ArgumentTypeError: when the text is not a number above 0
    """
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return found
