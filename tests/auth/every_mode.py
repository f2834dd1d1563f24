"""What holds in every auth mode, for somebody who may clear the DAG."""

from __future__ import annotations

import re

import pytest

from tests.auth.application import FROM_ELSEWHERE, HOST, ORIGINS, SELECTION, Browser, Program
from tests.support.driving import drive

STEPS = ("apply", "ask", "decline", "stop", "rest", "without", "widen", "undo")
"""What is POSTed to a plan."""


class EveryMode:
    """Tests that each module runs in its mode, with its fixtures ``person`` and ``program``."""

    def test_a_browser_plans_clears_and_undoes(self, dags, person):
        page = person.get("/?dag_id=etl")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        made = person.press("/plans", **SELECTION)
        assert made.status_code == 303, made.text
        plan = made.headers["location"].removeprefix("/pluginsv2/safe_clear")
        page = person.get(plan).text
        fingerprint = re.search(r'name="fingerprint" value="([^"]+)"', page)[1]
        boxes = re.findall(r'name="acknowledge" value="([^"]+)"', page)
        cleared = person.press(f"{plan}/apply", fingerprint=fingerprint, acknowledge=boxes)
        assert (cleared.status_code, cleared.headers["location"].endswith(plan)) == (303, True)
        drive(plan.rpartition("/")[2])
        assert person.press(f"{plan}/undo", reason="wrong run").status_code == 303
        drive(plan.rpartition("/")[2])
        assert person.get(f"{plan}.json").json()["status"] == "undone"

    def test_a_program_plans_clears_and_undoes(self, dags, program):
        plan = program.plan()
        assert program.apply(plan).json()["status"] == "applied"
        assert program.post(f"/plans/{plan['id']}/undo", json={}).status_code == 202
        assert drive(plan["id"]).status == "undone"
        assert [one["id"] for one in program.get("/plans.json").json()["items"]] == [plan["id"]]
        assert [one["dag_id"] for one in program.get("/dags.json").json()["items"]] == ["etl", "other"]

    def test_a_program_is_refused_in_json(self, dags, program):
        for answer in (
            program.get("/plans/nonsense.json"),
            program.post("/plans", json={"dag_id": "etl"}),
            program.post("/plans", json={"dag_id": "nowhere", "run_id": ["x"]}),
        ):
            assert answer.status_code in (404, 422)
            assert answer.headers["content-type"] == "application/json"

    def test_a_browser_needs_the_token_of_a_page_for_every_change(self, dags, person, program, unchanged_by):
        plan = program.plan()
        token = person.csrf_token()
        with unchanged_by():
            for path in ("/plans", "/answers", *(f"/plans/{plan['id']}/{step}" for step in STEPS)):
                for wrong in ("", "nonsense", token[:-1], token + "x"):
                    answer = person.press(path, csrf_token=wrong, fingerprint=plan["fingerprint"])
                    assert answer.status_code == 403, path
                    assert answer.headers["content-type"] == "text/html; charset=utf-8"
                    assert "its token is not valid" in answer.text

    def test_what_another_site_sends_changes_nothing(self, dags, person, program, unchanged_by):
        plan = program.plan()
        with unchanged_by():
            for path in ("/plans", *(f"/plans/{plan['id']}/{step}" for step in STEPS)):
                for what, request in FROM_ELSEWHERE.items():
                    for where, origin in ORIGINS.items():
                        if what == "a script that sends JSON" and not origin:
                            continue  # no page can send it without the headers; a program does
                        sent = {**request, "headers": {**request.get("headers", {}), **origin}}
                        answer = person.post(path, **sent)
                        assert answer.status_code == 403, (path, what, where)

    def test_each_described_change_needs_a_token_and_comes_from_no_other_site(
        self, dags, person, program, unchanged_by
    ):
        """Of plans, change sets and whatever else the description lists; a new route is among them."""
        plan = program.plan()
        made = program.post("/change_sets", json={"dag_ids": ["etl"], "run_id": ["run_1"]}).json()
        token = person.csrf_token()
        paths = [
            path.removeprefix("/safe_clear").format(plan_id=plan["id"], set_id=made["id"])
            for path, methods in program.get("/openapi.json").json()["paths"].items()
            if "post" in methods
        ]
        assert {f"/plans/{plan['id']}/apply", f"/change_sets/{made['id']}/waves"} <= set(paths)
        with unchanged_by():
            for path in paths:
                answer = person.press(path, csrf_token="")
                assert (answer.status_code, "its token is not valid" in answer.text) == (403, True), path
                elsewhere = person.post(path, data={"csrf_token": token}, headers=ORIGINS["another site"])
                assert elsewhere.status_code == 403, path

    def test_another_site_gains_nothing_by_a_token_or_a_bearer(self, dags, person, program, unchanged_by):
        """A page's token does not help where the browser says that another site's page sends it."""
        token = person.csrf_token()
        with unchanged_by():
            for name, origin in ORIGINS.items():
                if origin:
                    body = {"dag_id": "etl", "run_id": "run_1", "csrf_token": token}
                    assert person.post("/plans", data=body, headers=origin).status_code == 403, name
                    assert program.post("/plans", json=body, headers=origin).status_code == 403, name

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://airflow.example", "X-Forwarded-Host": "airflow.example, inner"},
            {"Origin": "https://testserver:443"},
            {"Origin": HOST.upper()},
            {"Origin": "https://airflow.example", "Sec-Fetch-Site": "same-origin"},
            {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
            {},
        ],
        ids=str,
    )
    def test_our_own_pages_are_known_behind_a_proxy(self, dags, person, headers):
        body = {"dag_id": "etl", "run_id": "run_1", "csrf_token": person.csrf_token()}
        assert person.post("/plans", data=body, headers=headers).status_code == 303

    def test_looking_changes_nothing(self, dags, person, program, unchanged_by):
        plan = program.plan()
        with unchanged_by():
            for path in ("/", "/plans", f"/plans/{plan['id']}", f"/plans/{plan['id']}.json"):
                for method in ("GET", "HEAD", "OPTIONS"):
                    answer = person.send(method, path, headers=ORIGINS["another site"])
                    assert answer.status_code == 200, (method, path)
            for method in ("PUT", "PATCH", "DELETE", "TRACE", "NONSENSE"):
                answer = person.send(method, f"/plans/{plan['id']}")
                assert answer.status_code in (403, 404, 405), method

    def test_no_answer_sets_airflows_session(self, dags, person):
        for answer in (person.get("/"), person.get("/nowhere"), person.post("/plans")):
            assert "session=" not in answer.headers.get("set-cookie", "")

    def test_a_websocket_is_refused(self, dags, person):
        from starlette.websockets import WebSocketDisconnect

        for path in ("/pluginsv2/safe_clear", "/pluginsv2/safe_clear/plans"):
            with pytest.raises(WebSocketDisconnect), person.client.websocket_connect(path):
                pass


class WithLogin(EveryMode):
    """More of them, where Airflow asks people to log in."""

    def test_a_stranger_is_sent_to_the_login(self, dags, airflow_app, unchanged_by):
        stranger = Browser(airflow_app)
        for path in ("/", "/plans", "/plans/nonsense", "/?dag_id=etl"):
            answer = stranger.get(path)
            assert answer.status_code == 302
            assert "/auth/login" in answer.headers["location"]
            assert "next=" in answer.headers["location"]
        with unchanged_by():
            answer = stranger.press("/plans", csrf_token="", dag_id="etl", run_id="run_1")
            assert answer.status_code == 401
            assert "Log in to Airflow" in answer.text

    def test_a_stranger_program_is_told_so_in_json(self, dags, airflow_app):
        for token in (None, "nonsense"):
            stranger = Program(airflow_app, token)
            answers = [stranger.get("/plans.json"), stranger.post("/plans", json=SELECTION)]
            assert [answer.status_code for answer in answers] == [401, 401]
            assert all(answer.json()["error"] == "You are not logged in." for answer in answers)

    def test_a_bad_cookie_is_no_login(self, dags, airflow_app):
        answer = Browser(airflow_app, "nonsense").get("/")
        assert answer.status_code == 302
        assert "/auth/login" in answer.headers["location"]

    def test_json_by_cookie_needs_the_token_too(self, dags, person, unchanged_by):
        token = person.csrf_token()
        with unchanged_by():
            assert person.post("/plans", json=SELECTION).status_code == 403
        answer = person.post("/plans", json=SELECTION, headers={"X-CSRF-Token": token})
        assert answer.status_code == 201
