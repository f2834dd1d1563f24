"""The documentation beside what it explains."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from safe_clear_plugin.findings.registry import CHECKS
from safe_clear_plugin.web.help.markdown import anchor, to_html
from tests.support.auth import bearer, login

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix().removesuffix(".md") for path in DOCS.glob("**/*.md"))
TAGS = {
    *("h1", "h2", "h3", "h4", "p", "ul", "ol", "li", "pre", "code", "strong", "em", "a"),
    *("table", "thead", "tbody", "tr"),
    "th",
    "td",
}


class Balanced(HTMLParser):
    """Collects the tags and the ids of a document, and checks that each tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f" {data}"


def parsed(html: str) -> Balanced:
    found = Balanced()
    found.feed(html)
    found.close()
    assert found.open == []
    return found


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A *b* `c*d*`", '<h1 id="a-b-cd">A <em>b</em> <code>c*d*</code></h1>'),
        ("* a\n* **C d.** e", '<ul><li>a</li><li id="c-d"><strong>C d.</strong> e</li></ul>'),
        (
            "| a | b |\n| --- | ---: |\n| `c` | d |",
            '<table tabindex="0"><thead><tr><th scope="col">a</th><th scope="col">b</th></tr></thead>'
            "<tbody><tr><td><code>c</code></td><td>d</td></tr></tbody></table>",
        ),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        ("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>"),
        ("[a **b**](c.txt)[c](d.md)", '<p>a <strong>b</strong><a href="D">c</a></p>'),
        ("![a](b.png)[c](d.md)", '<p><a href="D">c</a></p>'),
    ],
)
def test_html_has_places_to_link_to_and_nothing_that_is_unsafe(text, html):
    found = to_html(text, lambda target: "D" if target == "d.md" else "")
    assert found.replace("\n", "") == html


def test_what_stands_in_an_address_is_escaped():
    assert 'href="&quot;&gt;"' in to_html("[a](b.md)", lambda _: '">')


@pytest.mark.parametrize("name", PAGES)
def test_every_page_of_the_documentation_is_shown_whole(name):
    text = (DOCS / f"{name}.md").read_text()
    html = parsed(to_html(text, lambda target: target))
    assert html.seen <= TAGS
    # No mark-up is left over, but in code.
    shown = re.sub(r"<code[^>]*>.*?</code>", "", to_html(text, lambda target: target), flags=re.DOTALL)
    assert not re.search(r"\*\*|\]\(|^#", shown, re.MULTILINE)
    words = re.findall(r"\w{4,}", re.sub(r"\]\([^)]*\)|!\[[^\]]*\]\S*|```\w*", "", text))
    there = set(re.findall(r"\w{4,}", html.text))
    assert [word for word in words if word not in there] == []


def test_a_page_is_there_for_each_finding(client):
    user = login(client, "viewer")
    for check in CHECKS:
        page = user.get(f"/safe_clear/help/findings/{check.code}")
        assert page.status_code == 200, check.code
        assert "<strong>Meaning.</strong>" in page.text


def test_the_links_of_a_page_lead_to_others(client):
    user = login(client, "viewer")
    page = user.get("/safe_clear/help/findings/README").text
    links = re.findall(r'href="(/safe_clear/help/findings/\w+)"', page)
    assert len(set(links)) >= len(CHECKS)
    assert user.get(links[-1]).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "../README",
        "findings",
        "findings/../limits",
        "screenshots/plan-light",
        "%2e%2e/x",
        "",
        "a" * 300,
        "a\0",
    ],
)
def test_no_other_file_is_shown(client, name):
    assert login(client, "viewer").get(f"/safe_clear/help/{name}").status_code == 404


def test_who_is_not_logged_in_goes_to_the_login(client):
    assert client.get("/safe_clear/help/limits", headers={"Accept": "text/html"}).status_code in (302, 303)


def test_each_place_that_the_form_links_to_is_there(client):
    page = client.get("/safe_clear/select", headers=bearer("admin")).text
    links = re.findall(r'href="(/safe_clear/help/\w+)#([\w-]+)"', page)
    assert len(links) == 4
    for address, place in links:
        assert f'id="{place}"' in client.get(address, headers=bearer("admin")).text


def test_an_anchor_is_as_github_makes_it():
    assert anchor("Dag versions and `x`") == "dag-versions-and-x"
