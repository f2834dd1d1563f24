"""Addresses within a plan's page: what the grid shows and what the table shows go on side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from safe_clear_plugin.web.api.queries import RowsFilter
from safe_clear_plugin.web.app import templating

GRID = ("grid", "from", "to", "open", "first_row", "first_column")
FILTERS = tuple(RowsFilter.model_fields)
TABLE = (*FILTERS, "sort", "offset")


@dataclass(frozen=True)
class Address:
    """A plan's page as it is asked for now, to be linked to with changes."""

    plan_id: str
    args: MultiDict[str, str]

    def query(self, changes: Mapping[str, Any], *, of: tuple[str, ...] = (*GRID, *TABLE)) -> str:
        """Return the query with changes; a name that is changed to nothing is left out."""
        kept = [(name, value) for name in of if name not in changes for value in self.args.getlist(name)]
        for name, value in changes.items():
            kept += [(name, one) for one in (value if isinstance(value, (list, tuple)) else [value])]
        return urlencode([(name, value) for name, value in kept if value not in ("", None)])

    def page(self, changes: Mapping[str, Any], fragment: str = "") -> str:
        """Return the address of the page with changes."""
        query = self.query(changes)
        path = templating.url("plan", plan_id=self.plan_id) + (f"?{query}" if query else "")
        return f"{path}#{fragment}" if fragment else path

    def grid(self, **changes: Any) -> str:
        """Return the address of the page with another part of the grid; other parameters start unset."""
        unset = dict.fromkeys(("grid", "from", "to", "first_row", "first_column"), "")
        return self.page({**unset, **changes}, "grid")

    def rows(self, **changes: Any) -> str:
        """Return the address of the page with a filter or an order of the table changed, from its start."""
        return self.page({"offset": "", **changes}, "task-instances")

    def only(self, **filters: Any) -> str:
        """Return the address of the page with just this filter of the table."""
        return self.rows(**{**dict.fromkeys(FILTERS, ""), **filters})
