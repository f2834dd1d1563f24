"""Files with secrets."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from safe_clear_plugin.cli.errors import CommandError

OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
STDIN = "-"


def read_secret(path: str) -> str:
    """Return the first line of a file that only its owner can read; ``-`` is the standard input.

    :raises CommandError: when others can read it, too, or nobody can
    """
    if path == STDIN:
        return _first_line(sys.stdin.readline(), "the standard input")
    try:
        with Path(path).open(encoding="utf-8") as file:
            # Of the open file, so that it is the one that is read.
            _require_private(os.fstat(file.fileno()).st_mode, path)
            return _first_line(file.readline(), path)
    except (OSError, UnicodeDecodeError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise CommandError(f"Can't read {path}: {text}.", "Name a file with the secret in it.") from None


def _require_private(mode: int, path: str) -> None:
    # Windows has no such bits: there they are always set.
    if os.name == "posix" and mode & OF_OTHERS:
        raise CommandError(
            f"Others can read {path}, so its secret is not used.",
            f"Run `chmod 600 {path}`, or mount the secret with mode 0400. If it was exposed, replace it.",
        )


def _first_line(line: str, where: str) -> str:
    if not line.strip():
        raise CommandError(f"There is no secret in {where}.", "Write it on the first line.")
    return line.strip()
