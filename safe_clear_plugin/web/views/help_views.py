"""The view of the documentation."""

from __future__ import annotations

from typing import Any

from flask_appbuilder import expose

from safe_clear_plugin.web.api.request_reader import read_query
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.help import help_page


class HelpViews:
    """The documentation that the pages of Safe Clear link to."""

    @expose("/help/<path:page>")
    def help_page(self, page: str) -> Any:
        """Show a page of the documentation."""
        read_query(Empty)
        return help_page.help_page(page)
