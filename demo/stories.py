"""What happened in the last 30 days.

Per DAG: what started its runs, how long its tasks take, what they returned, what broke.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

DAYS = 30
#: Runs that were due later than this are left to the scheduler: on paper they might not be over yet.
SETTLED = timedelta(minutes=30)


@dataclass(frozen=True)
class TaskStory:
    """What a task usually does."""

    seconds: float
    #: The XCom that it returned; of a mapped task, one for each map index.
    result: Any = None
    #: Whether the DAG calls ``fail_now_and_then`` in it.
    flaky: bool = False


@dataclass(frozen=True)
class Mapping:
    """What a mapped task, or a mapped task group, was expanded over."""

    source: str
    labels: tuple[str, ...]
    rendered: bool = False


@dataclass(frozen=True)
class Incident:
    """A time in which every try of a task failed, counted in hours before now."""

    task_id: str
    from_hours_ago: float
    to_hours_ago: float
    map_index: int = -1


@dataclass(frozen=True)
class Cause:
    """The task whose success starts a run, by an asset that it updates or by a TriggerDagRun."""

    dag_id: str
    task_id: str
    asset_uri: str | None = None


@dataclass(frozen=True)
class Wait:
    """The task that a sensor waits for, in the run whose logical date is earlier by ``delta``."""

    dag_id: str
    task_id: str
    delta: timedelta


@dataclass(frozen=True)
class DagStory:
    """What happened to one DAG."""

    dag_id: str
    tasks: dict[str, TaskStory]
    mappings: dict[str, Mapping] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    #: The branching task, and which task it chose on a given logical date.
    branch: tuple[str, Callable[[datetime], str]] | None = None
    #: By sensor; a sensor whose wait was too long has failed.
    waits: dict[str, Wait] = field(default_factory=dict)
    #: None if the DAG runs by its schedule.
    cause: Cause | None = None
    manual_hours_ago: tuple[float, ...] = ()
    #: Nothing was scheduled after this, because the DAG was paused.
    stopped_hours_ago: float = 0
    #: Leave out the newest interval, so that the scheduler has it to run when the demo starts.
    newest_run_is_live: bool = False


@dataclass(frozen=True)
class Outage:
    """A night in which the scheduler was down: these dag runs were never created."""

    days_ago: int = 11
    first_hour: int = 1
    last_hour: int = 6

    def covers(self, moment: datetime, now: datetime) -> bool:
        """Say whether a run that was due at ``moment`` is missing."""
        same_day = (now.date() - moment.date()).days == self.days_ago
        return same_day and self.first_hour <= moment.hour <= self.last_hour


OUTAGE = Outage()

_ORDERS = [
    {"region": "eu", "currency": "EUR", "amount": 1200},
    {"region": "us", "currency": "USD", "amount": 2100},
    {"region": "apac", "currency": "JPY", "amount": 91000},
]
_JOINED = [
    {"region": "eu", "eur": 1200.0},
    {"region": "us", "eur": 1932.0},
    {"region": "apac", "eur": 555.1},
]
_ACCOUNTS = ("cash", "receivables", "payables", "tax")
_BOOKINGS = [{"account": name, "bookings": 10 * len(name)} for name in _ACCOUNTS]

#: In an order in which every DAG stands after the DAG that causes its runs.
STORIES = (
    DagStory(
        "sales_etl",
        tasks={
            "cluster.up": TaskStory(40, "sales-cluster"),
            "cluster.down": TaskStory(15),
            "extract.orders": TaskStory(75, _ORDERS),
            "extract.fx_rates": TaskStory(6, {"EUR": 1.0, "USD": 0.92, "JPY": 0.0061}),
            "transform.clean": TaskStory(50, _ORDERS),
            "transform.join": TaskStory(110, _JOINED, flaky=True),
            "transform.totals": TaskStory(20, _JOINED),
            "load.per_region": TaskStory(240, [row["eur"] for row in _JOINED], flaky=True),
            "load.publish": TaskStory(12, sum(row["eur"] for row in _JOINED)),
            "report.daily": TaskStory(30),
        },
        mappings={"load.per_region": Mapping("transform.totals", ("eu", "us", "apac"), rendered=True)},
        incidents=(
            Incident("transform.join", from_hours_ago=43, to_hours_ago=38),
            Incident("load.per_region", from_hours_ago=33, to_hours_ago=29, map_index=1),
            Incident("load.per_region", from_hours_ago=9, to_hours_ago=6, map_index=0),
        ),
        manual_hours_ago=(8.7, 27.3, 29.4, 31.2, 52.6, 77.5, 170.2, 290.4, 500.8),
        newest_run_is_live=True,
    ),
    DagStory(
        "ml_features",
        tasks={"features": TaskStory(95, [0.12, 0.48, 0.33]), "store": TaskStory(10, 3)},
        incidents=(Incident("store", from_hours_ago=60, to_hours_ago=57),),
        cause=Cause("sales_etl", "load.publish", asset_uri="s3://lake/sales"),
    ),
    DagStory(
        "ledger_daily",
        tasks={
            "list_accounts": TaskStory(4, list(_ACCOUNTS)),
            "account.fetch": TaskStory(180, _BOOKINGS),
            "account.validate": TaskStory(45, _BOOKINGS, flaky=True),
            "account.post": TaskStory(90, [row["bookings"] for row in _BOOKINGS]),
            "close.balance": TaskStory(20, sum(row["bookings"] for row in _BOOKINGS)),
            "close.publish": TaskStory(8),
        },
        mappings={"account": Mapping("list_accounts", _ACCOUNTS)},
        incidents=(Incident("account.validate", from_hours_ago=100, to_hours_ago=76, map_index=2),),
        manual_hours_ago=(60.4,),
    ),
    DagStory(
        "finance_report",
        tasks={"render": TaskStory(35, "report.pdf"), "send": TaskStory(5)},
        cause=Cause("ledger_daily", "close.publish", asset_uri="s3://lake/ledger"),
    ),
    DagStory(
        "finance_close",
        tasks={
            "wait_for_ledger": TaskStory(30),
            "which_close": TaskStory(2),
            "close_day": TaskStory(40),
            "close_week": TaskStory(200),
            "done": TaskStory(2, "closed"),
            "start_audit": TaskStory(3),
        },
        waits={"wait_for_ledger": Wait("ledger_daily", "close.publish", timedelta(minutes=90))},
        branch=("which_close", lambda date: "close_week" if date.weekday() == 0 else "close_day"),
    ),
    DagStory(
        "audit_trail",
        tasks={"sign": TaskStory(4, "signed"), "archive": TaskStory(6)},
        cause=Cause("finance_close", "start_audit"),
    ),
    DagStory(
        "billing_usage",
        tasks={"meter": TaskStory(120, 4200), "invoice": TaskStory(60, 42.0), "notify": TaskStory(3)},
        incidents=(Incident("notify", from_hours_ago=200, to_hours_ago=150),),
    ),
    DagStory(
        "partner_files",
        tasks={
            "settle": TaskStory(121),
            "list_files": TaskStory(7, ["a.csv", "b.csv"]),
            "read": TaskStory(55, 2, flaky=True),
        },
        incidents=(Incident("list_files", from_hours_ago=260, to_hours_ago=250),),
    ),
    DagStory(
        "warehouse_maintenance",
        tasks={"vacuum": TaskStory(300), "analyze": TaskStory(20)},
        newest_run_is_live=True,
    ),
    DagStory(
        "legacy_export",
        tasks={"export": TaskStory(70, "export.xml"), "upload": TaskStory(25)},
        incidents=(Incident("upload", from_hours_ago=310, to_hours_ago=240),),
        stopped_hours_ago=240,
    ),
)
