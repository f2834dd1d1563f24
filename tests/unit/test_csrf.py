"""Which requests need the token of a page, and which are refused whatever they carry."""

from __future__ import annotations

from itertools import product

import pytest

from safe_clear_plugin.web.app.csrf import Sent, demand, host_of

HOSTS = ("airflow.example", "localhost:8080", "")
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
NO_JSON = (FORM, "multipart/form-data", "text/plain", "", "application/jsonp", "text/json")
CHANGES = ("POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "NONSENSE", "get")


def asked(credential, mimetype, method="POST", origin=None, fetch_site=None, **options):
    return demand(Sent(method, credential, mimetype, origin, fetch_site), HOSTS, **options)


@pytest.mark.parametrize(
    ("credential", "mimetype", "expected"),
    [
        *((("cookie", mimetype, "token")) for mimetype in (JSON, *NO_JSON)),
        *((("bearer", mimetype, "nothing")) for mimetype in (JSON, *NO_JSON)),
        ("nothing", JSON, "nothing"),
        *((("nothing", mimetype, "token")) for mimetype in NO_JSON),
    ],
)
@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        (None, None),
        (None, "same-origin"),
        (None, "none"),
        ("https://airflow.example", None),
        ("http://airflow.example", None),
        ("https://AIRFLOW.example:443", None),
        ("http://localhost:8080", None),
        ("http://localhost:8080", "same-origin"),
        # Behind a proxy that passes another name on, and from a page that sends no referrer.
        ("https://outside.example", "same-origin"),
        ("null", "same-origin"),
        ("null", " Same-Origin "),
    ],
)
def test_a_change_from_our_own_pages_or_from_no_page(credential, mimetype, expected, origin, fetch_site):
    for method in CHANGES:
        assert asked(credential, mimetype, method, origin, fetch_site) == expected


@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        ("https://evil.example", None),
        ("https://evil.example", "cross-site"),
        ("https://other.airflow.example", "same-site"),
        ("http://airflow.example", "cross-site"),
        ("https://airflow.example", "cross-site"),
        ("https://airflow.example", "nonsense"),
        ("https://airflow.example", ""),
        (None, "cross-site"),
        (None, "same-site"),
        ("null", None),
        ("null", "cross-site"),
        ("", None),
        ("airflow.example", None),
        ("http://localhost", None),
        ("http://localhost:80801", None),
        ("https://airflow.example.evil.example", None),
        ("https://airflow.example@evil.example", None),
        ("https://[", None),
    ],
)
def test_a_change_from_another_site_is_refused_whatever_it_carries(origin, fetch_site):
    for credential, mimetype, method in product(("cookie", "bearer", "nothing"), (JSON, FORM, ""), CHANGES):
        assert asked(credential, mimetype, method, origin, fetch_site) == "refusal"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_looking_needs_nothing(method):
    for credential in ("cookie", "bearer", "nothing"):
        assert asked(credential, "", method, "https://evil.example", "cross-site") == "nothing"


def test_an_origin_that_airflow_allows_is_no_other_site_but_no_page_of_ours():
    allowed = {"origin": "https://portal.example", "origins": ["https://portal.example"]}
    for fetch_site in (None, "cross-site"):
        assert asked("bearer", JSON, fetch_site=fetch_site, **allowed) == "nothing"
        assert asked("cookie", JSON, fetch_site=fetch_site, **allowed) == "token"
    assert (
        asked("bearer", JSON, origin="https://portal.example.evil", origins=allowed["origins"]) == "refusal"
    )


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Airflow.example/af", "airflow.example"),
        ("http://airflow.example:80", "airflow.example"),
        ("http://airflow.example:8080/", "airflow.example:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("/af", ""),
        ("null", ""),
        ("", ""),
    ],
)
def test_the_host_of_a_url(url, host):
    assert host_of(url) == host
