"""One style and one script for a page, which a browser asks for once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from safe_clear_plugin.web.app import assets
from tests.support.auth import login
from tests.support.scenes import store_etl
from tests.views.actions import apply_all, make, path

STATIC = Path(__file__).parents[2] / "static"
LINK = re.compile(r'<(?:script src|link rel="stylesheet" href)="([^"]+)"')
FOR_EVER = "public, max-age=31536000, immutable"


@pytest.fixture
def pages(client, session):
    """Return pages of every kind."""
    store_etl(session)
    ready, cleared = make(client), make(client, run_id=["run_3"])
    apply_all(client, cleared)
    login(client, "admin")
    below = [path(ready), path(cleared), path(cleared, "/undo"), path(ready, "/nothing")]
    return ["/safe_clear/", "/safe_clear/select", "/safe_clear/plans", *below]


def test_a_page_has_one_style_and_one_script(client, pages):
    for page in pages:
        links = LINK.findall(client.get(page).text)
        assert sorted(link.rpartition(".")[2] for link in links) == ["css", "js"], page
        for link in links:
            with client.get(link) as answer:
                assert answer.status_code == 200
                assert answer.headers["Cache-Control"] == FOR_EVER
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                wanted = "text/css" if link.endswith("css") else "text/javascript"
                assert answer.mimetype == wanted


def test_nobody_has_to_be_logged_in_for_it(client, pages):
    link = LINK.findall(client.get(pages[0]).text)[0]
    client.delete_cookie("_token")
    with client.get(link) as answer:
        assert answer.status_code == 200


def test_it_is_kept_under_the_address_of_its_content_only(client):
    for digest in ("0" * 16, "x"):
        with client.get(f"/safe_clear/static/{digest}/page.css") as answer:
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "no-store"
    name = "safe-clear.css"
    for query, kept in (
        ("", False),
        ("?v=0", False),
        (f"?v={assets.file_digest(STATIC / name)}", True),
    ):
        with client.get(f"/safe_clear/static/{name}{query}") as answer:
            assert (answer.headers["Cache-Control"] == FOR_EVER) == kept, query


@pytest.mark.parametrize("file", ["nothing.css", "page.html", "page", "..%2fpage.css", "page.css%00"])
def test_other_files_are_not_found(client, file):
    with client.get(f"/safe_clear/static/{'0' * 16}/{file}") as answer:
        assert answer.status_code == 404


def test_every_file_is_in_a_bundle():
    joined = assets.bundles(STATIC)
    for kind in ("css", "js"):
        whole = b"".join(bundle.content for (_, of), bundle in joined.items() if of == kind)
        for file in STATIC.glob(f"*.{kind}"):
            assert file.read_bytes() in whole, file.name
