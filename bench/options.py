"""What `make bench` was asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.databases import DRIVERS
from bench.scopes import LARGE

OPS = ("preview", "apply", "undo", "drift", "history")
PARTS = ("sizes", "delayed", "mapped", "breathing", "other_dags", "idle_driver", "startup")
DELAYED_SIZE = 1_000


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and how often."""

    sizes: list[int]
    ops: tuple[str, ...]
    parts: tuple[str, ...]
    drivers: tuple[str, ...]
    runs: int | None
    delay_ms: float
    mapped: int
    cap: float
    output: Path

    def runs_of(self, size: int) -> int:
        """Return how many times to measure: by default often enough for a median where it is quick."""
        return self.runs or (3 if size < LARGE else 1)


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; an empty value, as `make` passes it, means the default."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--sizes", default="", help="task instances to clear, such as 1000,10000,100000")
    parser.add_argument("--ops", default="", help=f"of {','.join(OPS)}; default all")
    parser.add_argument("--parts", default="", help=f"of {','.join(PARTS)}; default all")
    parser.add_argument("--drivers", default="", help=f"of {','.join(DRIVERS)}; default all")
    parser.add_argument("--runs", default="", help="measurements of each; default 3, and 1 from 10,000 on")
    parser.add_argument("--delay-ms", default="", help="added to every statement of the delayed part")
    parser.add_argument("--mapped", default="", help="task instances of the mapped run")
    parser.add_argument("--cap", default="", help="seconds after which Airflow's own way is given up")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"))
    given = parser.parse_args(arguments)
    sizes = [int(size) for size in _words(given.sizes) or ("1000", "10000", "100000")]
    return Options(
        sizes=sorted(sizes),
        ops=_chosen(given.ops, OPS, parser.error),
        parts=_chosen(given.parts, PARTS, parser.error),
        drivers=_chosen(given.drivers, DRIVERS, parser.error),
        runs=int(given.runs) if given.runs else None,
        delay_ms=float(given.delay_ms or 2.5),
        mapped=int(given.mapped or min(LARGE, max(sizes))),
        cap=float(given.cap or 600),
        output=given.output,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(",", " ").split() if word)


def _chosen(text: str, allowed: tuple[str, ...], refuse: Callable[[str], object]) -> tuple[str, ...]:
    words = _words(text) or allowed
    if unknown := set(words) - set(allowed):
        refuse(f"{', '.join(sorted(unknown))}: expected of {', '.join(allowed)}")
    return words
