"""Where the server is, who the caller is, and what is said when either is wrong."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import time
from email.utils import format_datetime
from types import SimpleNamespace

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from safe_clear_plugin.cli import client
from tests.cli.proxy import PASS
from tests.support.server import free_port

HISTORY = ("history", "--limit", 1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a self-signed certificate for localhost, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(private + made.public_bytes(pem))
    return path


def secret_file(folder, text, mode=0o600):
    path = folder / "secret"
    path.touch(mode=mode)
    path.write_text(text)
    os.chmod(path, mode)
    return path


def test_a_self_signed_certificate_is_refused_and_taken_with_ca(safe_clear, make_proxy, certificate):
    proxy = make_proxy(certificate=certificate)
    over_tls = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)
    done = over_tls(*HISTORY)
    assert done.code == 1
    assert "is not trusted" in done.err
    assert "--ca" in done.err
    assert proxy.requests == []
    assert over_tls(*HISTORY, "--ca", certificate).code == 0
    assert over_tls.having(SAFE_CLEAR_CA=str(certificate))(*HISTORY).code == 0


def test_a_certificate_that_cannot_be_read_exits_with_1(safe_clear, tmp_path):
    (tmp_path / "ca.pem").write_text("nonsense")
    for name in ("ca.pem", "nowhere.pem"):
        done = safe_clear(*HISTORY, "--ca", name)
        assert (done.code, "PEM" in done.err) == (1, True)


def test_a_server_that_is_down_exits_with_1(safe_clear):
    done = safe_clear(*HISTORY, "--server", f"http://localhost:{free_port()}")
    assert done.code == 1
    assert "Can't connect" in done.err
    assert "SAFE_CLEAR_SERVER" in done.err


def test_an_address_without_the_servers_path_exits_with_1(safe_clear, airflow_server):
    done = safe_clear(*HISTORY, "--server", airflow_server.url.removesuffix("/af"))
    assert done.code == 1
    assert "no Safe Clear at" in done.err


@pytest.mark.parametrize(
    "address", ["airflow.example.com", "ftp://x", "http://", "http://me:pw@x", "http://x?a"]
)
def test_what_is_no_address_exits_with_1_and_is_not_repeated(safe_clear, address):
    done = safe_clear(*HISTORY, "--server", address)
    assert done.code == 1
    assert "--server" in done.err
    assert "pw" not in done.err


def test_an_expired_token_exits_with_1_and_says_how_to_log_in(safe_clear, airflow_server):
    claims = jwt.decode(airflow_server.token("admin"), options={"verify_signature": False})
    secret = airflow_server.environment["AIRFLOW__API_AUTH__JWT_SECRET"]
    expired = jwt.encode({**claims, "exp": claims["iat"] - 60}, secret, algorithm="HS512")
    done = safe_clear.having(SAFE_CLEAR_TOKEN=expired)(*HISTORY)
    assert done.code == 1
    assert "SAFE_CLEAR_TOKEN" in done.err


def test_no_login_exits_with_1_and_says_how_to_log_in(safe_clear):
    done = safe_clear.having(SAFE_CLEAR_TOKEN=None)(*HISTORY)
    assert done.code == 1
    assert "SAFE_CLEAR_TOKEN" in done.err


@pytest.mark.airflow32
def test_a_password_of_the_environment_logs_in(safe_clear):
    password = safe_clear.having(SAFE_CLEAR_TOKEN=None, SAFE_CLEAR_PASSWORD="viewer")
    assert password(*HISTORY, "--user", "viewer").code == 0
    assert password.having(SAFE_CLEAR_USER="viewer")(*HISTORY).code == 0


def test_a_wrong_password_exits_with_1(safe_clear):
    done = safe_clear.having(SAFE_CLEAR_PASSWORD="wrong-one")(*HISTORY, "--user", "viewer")
    assert done.code == 1
    assert "refused the login of viewer" in done.err
    assert "wrong-one" not in done.err + done.out


def test_a_user_without_a_password_is_not_asked_for_one_without_a_terminal(safe_clear):
    done = safe_clear(*HISTORY, "--user", "viewer")
    assert done.code == 1
    assert "SAFE_CLEAR_PASSWORD" in done.err


def test_secrets_come_from_files_that_only_their_owner_can_read(safe_clear, airflow_server, tmp_path):
    stranger = safe_clear.having(SAFE_CLEAR_TOKEN=None)
    token = secret_file(tmp_path, airflow_server.token("viewer"))
    assert stranger(*HISTORY, "--token-file", token).code == 0
    assert stranger.having(SAFE_CLEAR_TOKEN_FILE=str(token))(*HISTORY).code == 0
    password = secret_file(tmp_path, "viewer\n")
    assert stranger(*HISTORY, "--user", "viewer", "--password-file", password).code == 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_file_that_others_can_read_is_refused_and_not_sent(
    safe_clear, airflow_server, make_proxy, tmp_path, mode
):
    proxy = make_proxy()
    path = secret_file(tmp_path, airflow_server.token("admin"), mode)
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)(*HISTORY, "--token-file", path)
    assert done.code == 1
    assert f"chmod 600 {path}" in done.err
    assert proxy.requests == []


def test_a_token_file_that_was_written_again_is_read_again(safe_clear, airflow_server, make_proxy, tmp_path):
    path = secret_file(tmp_path, "an.old.token")

    def renew(_method, _path):
        path.write_text(airflow_server.token("viewer"))
        return PASS

    proxy = make_proxy(decide=renew)
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)(*HISTORY, "--token-file", path)
    assert done.code == 0, done.err
    assert len(proxy.requests) == 2


def test_a_password_logs_in_again_when_its_token_is_refused(safe_clear, make_proxy):
    def refuse_first(_method, path):
        first = proxy.count("GET", "/plans.json") == 1 and "plans.json" in path
        return (401, {"Content-Type": "application/json"}, '{"detail": "expired"}') if first else PASS

    proxy = make_proxy(decide=refuse_first)
    password = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url, SAFE_CLEAR_PASSWORD="viewer")
    assert password(*HISTORY, "--user", "viewer").code == 0
    assert proxy.count("POST", "/auth/token") == 2


def test_a_redirect_is_not_followed_with_the_token(safe_clear, make_proxy):
    proxy = make_proxy(decide=lambda _m, _p: (302, {"Location": "https://evil.example/"}, ""))
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)(*HISTORY)
    assert done.code == 1
    assert "redirects to https://evil.example/" in done.err


def test_a_page_that_is_not_safe_clears_exits_with_1(safe_clear, make_proxy):
    proxy = make_proxy(decide=lambda _m, _p: (200, {"Content-Type": "text/html"}, "<h1>Log in</h1>"))
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)(*HISTORY)
    assert done.code == 1
    assert "is not Safe Clear" in done.err


def test_a_server_that_is_away_for_a_moment_is_asked_again(safe_clear, make_proxy):
    proxy = make_proxy(
        decide=lambda _m, _p: PASS if len(proxy.requests) > 2 else (503, {"Retry-After": "0"}, "")
    )
    assert safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)(*HISTORY).code == 0
    assert len(proxy.requests) == 3


def test_the_wait_before_a_retry_grows_whatever_the_server_asks_for(safe_clear, make_proxy):
    at = []

    def away_three_times(_method, _path):
        at.append(time.monotonic())
        return PASS if len(at) > 3 else (503, {"Retry-After": "0"}, "")

    proxy = make_proxy(decide=away_three_times)
    assert safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)(*HISTORY).code == 0
    waits = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert [wait >= least for wait, least in zip(waits, (0.25, 0.5, 1.0), strict=True)] == [True] * 3, waits


def test_the_wait_is_as_long_as_the_server_asks_and_not_longer_than_a_person_waits():
    def answered(retry_after):
        answer = httpx.Response(429, headers={"Retry-After": retry_after})
        return client._wait(
            SimpleNamespace(
                attempt_number=1, outcome=SimpleNamespace(exception=lambda: client._TryAgain(answer))
            )
        )

    soon = format_datetime(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5))
    assert answered("3") == 3
    assert answered("86400") == 10
    assert answered("9" * 400) == 10
    assert answered(soon) == pytest.approx(4.5, abs=1)
    assert answered("Wed, 21 Oct 2015 07:28:00 GMT") == answered("x") == answered("-1") == 0.25


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_proxy_that_does_not_say_what_became_of_a_new_plan_is_a_lost_answer(safe_clear, make_proxy, status):
    proxy = make_proxy(decide=lambda m, _p: (status, {}, "<h1>Bad Gateway</h1>") if m == "POST" else PASS)
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)("plan", "cli_etl", "-s", "2026-03-01")
    assert done.code == 1
    assert f"{status}" in done.err
    assert "not known whether the request was carried out" in done.err
    assert "Plan again" in done.err
    assert proxy.count("POST", "/plans") == 1


def test_what_was_sent_too_soon_is_sent_again_even_a_new_plan(safe_clear, make_proxy):
    proxy = make_proxy(
        decide=lambda m, _p: (429, {}, "") if m == "POST" and proxy.count("POST", "/plans") < 3 else PASS
    )
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)("plan", "cli_etl", "-s", "2026-03-01")
    assert done.code == 0, done.err
    assert proxy.count("POST", "/plans") == 3


def test_what_the_server_says_is_shown_literally(safe_clear, make_proxy):
    hostile = json.dumps({"error": "[red]x[/red] \x1b[31my\x07 \u202ez", "remedy": "a\nb"})
    proxy = make_proxy(decide=lambda _m, _p: (409, {"Content-Type": "application/json"}, hostile))
    done = safe_clear.having(SAFE_CLEAR_SERVER=proxy.url)(*HISTORY)
    assert done.code == 3
    assert "[red]x[/red] \\x1b[31my\\x07 \\u202ez" in done.err
    assert "\x1b" not in done.err


@pytest.fixture
def plan_file(safe_clear, new_days):
    [day] = new_days(1)
    assert safe_clear("plan", "cli_etl", "-s", day, "-e", day, "-o", "plan.json").code == 0
    return safe_clear.folder / "plan.json"


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"schema_version": 2}, 3, "has schema version 2; this safe-clear reads 1"),
        ({"server": "https://other.example"}, 3, "is a plan of https://other.example"),
        ({"fingerprint": "0" * 64}, 3, "do not mean the same plan"),
        ({"kind": "other"}, 1, "is not a plan file"),
        ({"plan_id": None}, 1, "names no plan"),
        ({"plan_id": "../../../auth/token"}, 1, "neither the id of a plan nor a file"),
    ],
    ids=str,
)
def test_a_plan_file_that_is_not_ours_clears_nothing(safe_clear, plan_file, change, code, said):
    written = json.loads(plan_file.read_text())
    plan_file.write_text(json.dumps({**written, **change}))
    done = safe_clear("apply", "plan.json", "-y")
    assert done.code == code
    assert said in done.err
    assert safe_clear("status", written["plan_id"], "--json").json["status"] == "ready"


def test_a_file_that_is_no_json_or_is_not_there_exits_with_1(safe_clear, tmp_path):
    (tmp_path / "plan.json").write_text("nonsense")
    for name in ("plan.json", "nowhere.json"):
        done = safe_clear("apply", name, "-y")
        assert (done.code, name in done.err) == (1, True)


def test_an_address_written_otherwise_is_the_same_server(safe_clear, plan_file, airflow_server):
    other = airflow_server.url.replace("http://localhost", "HTTP://LOCALHOST") + "/"
    assert safe_clear("show", "plan.json", "--server", other).code == 0


@pytest.fixture
def airflowctl(safe_clear, airflow_server, tmp_path):
    """Return the command line of somebody who is logged in with airflowctl, and has a keyring."""
    home = tmp_path / "airflow-home"
    home.mkdir()
    (home / "production.json").write_text(json.dumps({"api_url": f"{airflow_server.url}/"}))
    keyring = tmp_path / "packages" / "keyring"
    keyring.mkdir(parents=True)
    # Stands for the keyring of a desktop.
    (keyring / "__init__.py").write_text(
        "import os\n"
        "def get_password(service, name):\n"
        "    assert (service, name) == ('airflowctl', 'api_token_production')\n"
        "    return os.environ['KEYRING']\n"
    )
    (keyring / "errors.py").write_text("class KeyringError(Exception): pass\n")
    return safe_clear.having(
        SAFE_CLEAR_SERVER=None,
        SAFE_CLEAR_TOKEN=None,
        AIRFLOW_HOME=str(home),
        KEYRING=airflow_server.token("viewer"),
        PYTHONPATH=f"{keyring.parent}:{safe_clear.environment['PYTHONPATH']}",
    )


def test_the_login_of_airflowctl_is_used_where_there_is_one(airflowctl, airflow_server):
    assert airflowctl(*HISTORY).code == 0
    token = airflow_server.token("viewer")
    assert airflowctl.having(KEYRING="nonsense", AIRFLOW_CLI_TOKEN=token)(*HISTORY).code == 0
    assert airflowctl.having(AIRFLOW_CLI_ENVIRONMENT="../other")(*HISTORY).code == 1


def test_the_token_of_airflowctl_is_for_its_own_server_alone(airflowctl, make_proxy):
    proxy = make_proxy()
    elsewhere = airflowctl.having(AIRFLOW_CLI_TOKEN=airflowctl.environment["KEYRING"])
    assert elsewhere(*HISTORY, "--server", proxy.url).code == 1
    assert proxy.tokens == []


def test_a_keyring_that_is_not_there_is_named(airflowctl, tmp_path):
    (tmp_path / "packages" / "keyring" / "__init__.py").write_text("raise ImportError")
    done = airflowctl(*HISTORY)
    assert done.code == 1
    assert "`keyring`" in done.err
