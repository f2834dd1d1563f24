"""How long a cleared run may take, and deadlines that keep Airflow from clearing at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from safe_clear_plugin.core.findings.finding import Check, Finding
from safe_clear_plugin.core.plan_text import count, moment


@dataclass(frozen=True, slots=True)
class DeadlineFacts:
    """``dagrun_timeout`` of the DAG versions used, and deadlines of the runs."""

    timeouts: tuple[timedelta, ...] = ()
    anew: int = 0
    """Runs with a timeout that go back to queued: it counts from their next start."""
    going_on: int = 0
    """Runs with a timeout that are running and keep their start."""
    first_ends_at: datetime | None = None
    last_ends_at: datetime | None = None
    overdue: int = 0
    """Those of them whose time is over already."""
    unclearable_runs: int = 0
    """Runs with a deadline that Airflow's own clear cannot recalculate."""


def dagrun_timeout(facts: DeadlineFacts) -> Finding | None:
    """``dagrun_timeout``: from the next start for runs that are queued, from the old one for running ones."""
    if not facts.anew and not facts.going_on:
        return None
    limit = " or ".join(_length(timeout) for timeout in facts.timeouts)
    anew = (
        f"`dagrun_timeout` starts anew for {count(facts.anew, 'run')}: {limit} from the start of each"
        if facts.anew
        else ""
    )
    if not facts.going_on or facts.first_ends_at is None or facts.last_ends_at is None:
        return Finding("dagrun_timeout", "info", anew, _TIMED_OUT, facts.anew)
    ends = moment(facts.first_ends_at)
    if facts.first_ends_at != facts.last_ends_at:
        ends = f"between {ends} and {moment(facts.last_ends_at)}"
    else:
        ends = f"at {ends}"
    over = f", which is over for {facts.overdue:,} of them" if facts.overdue else ""
    verb = "keeps its start and times" if facts.going_on == 1 else "keep their start and time"
    return Finding(
        "dagrun_timeout",
        "warn",
        f"{count(facts.going_on, 'running run')} {verb} out {ends}{over}",
        f"`dagrun_timeout` ({limit}) counts from a run's start, and a clear gives a running one no new one. "
        f"{_TIMED_OUT}{f' {anew}.' if anew else ''}",
        facts.going_on,
        remedy="Clear these runs once they are finished: they then start anew.",
    )


_TIMED_OUT = "When the time is up the run fails, and whatever in it has not finished is skipped."


def deadline_breaks_clear(facts: DeadlineFacts) -> Finding | None:
    """Deadlines on which ``clear_task_instances`` itself ends with an error."""
    if not facts.unclearable_runs:
        return None
    return Finding(
        "deadline_breaks_clear",
        "refuse",
        f"Airflow cannot clear {count(facts.unclearable_runs, 'run')}: a deadline counts "
        "from when it was queued",
        "To clear, Airflow has to move such a deadline, and this version of Airflow ends with an error when "
        "it reads its interval. Its own page and CLI fail on these runs too.",
        facts.unclearable_runs,
        remedy="Leave these runs out, do not queue finished runs again, or upgrade Airflow.",
    )


def _length(timeout: timedelta) -> str:
    minutes, seconds = divmod(int(timeout.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{value:,} {unit}" for value, unit in ((hours, "h"), (minutes, "min"), (seconds, "s")) if value]
    return " ".join(parts) or "0 s"


CHECKS: tuple[Check[DeadlineFacts], ...] = (
    Check(
        "deadline_breaks_clear",
        "deadlines that Airflow's clear cannot move",
        deadline_breaks_clear,
        is_grave=True,
    ),
    Check("dagrun_timeout", "dagrun_timeout", dagrun_timeout),
)
