"""Safe Clear's pages as a person meets them: in the frame of a tab in Airflow's UI, or by themselves."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.support.options import chosen

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, FrameLocator, Page, Response

    from tests.support.server import AirflowServer

MOUNTED_AT = "/pluginsv2/safe_clear/"
# Said of the frame that Airflow puts around the page of any plugin.
OF_AIRFLOWS_FRAME = "both allow-scripts and allow-same-origin for its sandbox"
RUN_ID = "scheduled__2026-03-02T00:00:00+00:00"


def looks() -> list[tuple[str, int]]:
    """Return the modes and widths of a page: the narrow one in light and the wide one in dark, or all."""
    every = list(product(("light", "dark"), (360, 800, 1280)))
    return every if chosen.full else [every[0], every[-1]]


def address(server: AirflowServer, page: str = "") -> str:
    """Return the address of one of our pages by itself."""
    return f"{server.url}{MOUNTED_AT}{page}"


def dag_path(dag_id: str, run_id: str | None = None, rest: str = "") -> str:
    """Return the path of a DAG or of one of its runs in Airflow's UI."""
    return f"/dags/{dag_id}" + (f"/runs/{quote(run_id, safe='')}" if run_id else "") + rest


def open_tab(server: AirflowServer, page: Page, path: str) -> FrameLocator:
    """Go to a place in Airflow's UI, click its Safe Clear tab and return the frame."""
    page.goto(f"{server.url}{path}")
    page.get_by_role("link", name="Safe Clear").click()
    return the_frame(page)


def the_frame(page: Page) -> FrameLocator:
    """Return the frame of Safe Clear once its page is there."""
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", level=1)).to_be_visible()
    return frame


def preview(frame: FrameLocator | Page, **fields: str) -> None:
    """Fill the form's text fields and preview; returns on the page that came of it."""
    for name, value in fields.items():
        frame.locator(f"[name={name}]").fill(value)
    frame.get_by_role("button", name="Preview").click()
    expect(frame.get_by_role("heading", level=1, name="Clear")).to_be_visible()


def confirm(frame: FrameLocator | Page, reason: str = "") -> None:
    """Give all that is asked for and confirm the plan that is on the page."""
    # A narrow screen folds away all but the summary and the next step.
    unfold = frame.get_by_role("button", name="Options")
    if unfold.is_visible():
        unfold.click()
    for box in frame.locator("input[name=acknowledge]:visible").all():
        box.check()
    frame.get_by_role("textbox", name="Reason").fill(reason)
    for dag_id in frame.locator("input[name=confirm_dag_id]").all():
        dag_id.fill(dag_id.get_attribute("data-expected") or "")
    confirm_button(frame).click()


def confirm_button(frame: FrameLocator | Page) -> Any:
    """Return the button of the next step, which clears once no other step is left."""
    return frame.locator(".plan-dock [data-primary]")


def sideways(page: Page) -> int:
    """Return by how many pixels the page is wider than its window.

    A heading is there before the style sheets are: the browser shows nothing until then, but measures it.
    """
    page.wait_for_load_state()
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def look(page: Page, name: str) -> None:
    """Check a page with axe; keep a picture, if pictures are wanted."""
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
    assert sideways(page) == 0
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def session_cookie(context: BrowserContext) -> str | None:
    """Return Airflow's own session cookie, which the pages below ``/auth`` live on."""
    return next((cookie["value"] for cookie in context.cookies() if cookie["name"] == "session"), None)


@dataclass
class Troubles:
    """What the browser complains about in Safe Clear's pages; Airflow's own complaints are not ours."""

    found: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> Troubles:
        """Collect errors and warnings, content that the policy blocks, and answers that are errors."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._if_ours(error.stack or "", f"uncaught: {error}"))
        page.on("response", self._response)
        return self

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning") or OF_AIRFLOWS_FRAME in message.text:
            return
        # Airflow sends no policy of its own.
        is_policy = "Content Security Policy" in message.text
        self._if_ours(MOUNTED_AT if is_policy else message.location["url"], message.text)

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._if_ours(response.url, f"HTTP {response.status} {response.url}")

    def _if_ours(self, place: str, text: str) -> None:
        if MOUNTED_AT in place:
            self.found.append(text)
