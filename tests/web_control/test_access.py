"""Tokens for programs, sessions for browsers, scopes for both."""

from __future__ import annotations

import re

import pytest

from redpoll.catalog import Server
from redpoll.clock import SimClock
from redpoll.host import tokens
from redpoll.web.access import SESSION_S, local_path, needed
from redpoll.web.app import create_app
from tests.web_control.conftest import Client

REASON = {"reason": "release"}
PAUSE = "/api/v1/rollouts/churn-17/pause"


@pytest.fixture
def keys(tmp_path):
    """A token for each scope, as ``redpoll token create`` writes them."""
    made = {
        scope: tokens.make(f"{scope}-er", (scope,))
        for scope in ("predict", "read", "operate", "admin")
    }
    path = tmp_path / "tokens"
    path.write_text("\n".join(line for _, line in made.values()))
    return path, {scope: token for scope, (token, _) in made.items()}


@pytest.fixture
def clock(control):
    return SimClock(control.now_us)


@pytest.fixture
def client(control, keys, clock, monkeypatch):
    monkeypatch.setattr(tokens, "LOOK_AGAIN_S", -1.0)
    app = create_app(control, Server(), tokens=tokens.Tokens(keys[0]), clock=clock)
    return Client(app, control)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def log_in(client: Client, token: str, where: str = "/") -> str:
    """The cookie of a new session."""
    answer = client.form("/login", token=token, next=where)
    assert answer.status == 303, answer.text
    cookie = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert part in cookie
    return cookie.split(";")[0]


@pytest.mark.parametrize(
    ("scope", "method", "path", "status"),
    [
        (None, "GET", "/api/v1/overview", 401),
        (None, "GET", "/api/v1/events", 401),
        (None, "GET", "/rollouts.csv", 401),
        (None, "POST", PAUSE, 401),
        (None, "GET", "/healthz", 200),
        (None, "GET", "/api/v1/readyz", 200),
        (None, "GET", "/static/redpoll.css", 200),
        ("predict", "GET", "/api/v1/overview", 403),
        ("read", "GET", "/api/v1/overview", 200),
        ("read", "POST", PAUSE, 403),
        ("operate", "GET", "/api/v1/overview", 200),
        ("operate", "POST", PAUSE, 200),
        ("operate", "POST", "/api/v1/apply", 403),
        ("operate", "POST", "/api/v1/models/churn/versions", 403),
        ("admin", "POST", PAUSE, 200),
        ("admin", "POST", "/api/v1/apply", 400),
    ],
)
def test_each_scope_opens_what_it_is_for_and_no_more(client, keys, scope, method, path, status):
    """401 without a token, 403 with the wrong one; health and style never need one."""
    headers = bearer(keys[1][scope]) if scope else {}
    body = REASON if method == "POST" and "apply" not in path else b""
    answer = client.ask(method, path, body=body, headers=headers)
    assert answer.status == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    if status in (401, 403):
        assert client.control.asked == []


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Basic eDp5", "Bearer nonsense", "bearer\t", "Bearer \xff"]
)
def test_a_bad_authorization_is_refused(client, value):
    """Whatever it is."""
    answer = client.get("/api/v1/overview", authorization=value)
    assert (answer.status, answer.json()["code"]) == (401, "RP-500")


def test_the_actor_is_the_tokens_name_whatever_the_body_says(client, keys, control):
    """A decision names who proved to be it."""
    client.ask("POST", PAUSE, body={**REASON, "actor": "root"}, headers=bearer(keys[1]["operate"]))
    assert control.asked[-1][1]["actor"] == "operate-er"


def test_a_browser_is_led_to_log_in_and_back(client, keys):
    """303 to the page with where it came from; after it the page itself, with its form."""
    answer = client.page("/rollouts/fraud-9?at=x")
    assert answer.status == 303
    assert answer.headers["location"] == "/login?next=/rollouts/fraud-9%3Fat%3Dx"
    page = client.page(answer.headers["location"])
    assert page.status == 200
    assert "/rollouts/fraud-9?at=x" in page.text
    assert re.search(r'<input name="token" type="password"', page.text)
    cookie = log_in(client, keys[1]["operate"], "/rollouts/churn-17")
    page = client.ask(
        "GET", "/rollouts/churn-17", headers={"cookie": cookie, "accept": "text/html"}
    )
    assert page.status == 200
    assert "operate-er" in page.text and "Log out" in page.text


def test_a_link_from_elsewhere_asks_once_more(client):
    """A strict cookie does not come along with an alert's link; from our own page it does."""
    headers = {"accept": "text/html", "sec-fetch-site": "cross-site"}
    answer = client.ask("GET", "/rollouts/fraud-9", headers=headers)
    assert answer.status == 200
    assert 'http-equiv="refresh"' in answer.text and "fraud 7" not in answer.text


def test_the_cookie_is_not_the_token_and_ends(client, keys, clock):
    """Other ports of this host get the cookie too: it must not be worth more than a session."""
    token = keys[1]["operate"]
    cookie = log_in(client, token)
    assert token not in cookie
    headers = {"cookie": cookie}
    assert client.ask("GET", "/api/v1/overview", headers=headers).status == 200
    clock.advance(SESSION_S * 1_000_000)
    assert client.ask("GET", "/api/v1/overview", headers=headers).status == 401


def test_a_revoked_token_ends_its_sessions(client, keys):
    """At once, not after twelve hours."""
    path, made = keys
    cookie = log_in(client, made["operate"])
    lines = [line for line in path.read_text().splitlines() if "operate-er" not in line]
    path.write_text("\n".join(lines))
    assert client.ask("GET", "/api/v1/overview", headers={"cookie": cookie}).status == 401


def test_logging_out_ends_the_session(client, keys):
    """On the server, too."""
    cookie = log_in(client, keys[1]["operate"])
    origin = {"cookie": cookie, "origin": "http://127.0.0.1:8081"}
    assert client.ask("POST", "/logout", headers=origin).status == 303
    assert client.ask("GET", "/api/v1/overview", headers={"cookie": cookie}).status == 401


def test_a_wrong_token_is_said_on_the_page(client):
    """With where it was going to."""
    answer = client.form("/login", token="wrong", next="/rollouts/fraud-9")
    assert answer.status == 401
    assert "not known" in answer.text and 'value="/rollouts/fraud-9"' in answer.text
    assert "set-cookie" not in answer.headers


def test_a_token_that_may_not_read_gets_no_session(client, keys):
    """It could do nothing here."""
    assert client.form("/login", token=keys[1]["predict"], next="/").status == 403


def test_a_reader_sees_no_stderr(client, keys):
    """It may hold what a model printed of its inputs."""
    cookie = {"cookie": log_in(client, keys[1]["read"]), "accept": "text/html"}
    page = client.ask("GET", "/rollouts/fraud-9", headers=cookie).text
    assert "Traceback" not in page and "shown to operators only" in page
    cookie["cookie"] = log_in(client, keys[1]["operate"])
    assert "Traceback" in client.ask("GET", "/rollouts/fraud-9", headers=cookie).text


def test_a_session_is_guarded_against_other_sites(client, keys, control):
    """A cookie alone changes nothing from elsewhere."""
    headers = {"cookie": log_in(client, keys[1]["operate"]), "origin": "http://evil.example"}
    assert client.ask("POST", PAUSE, body=REASON, headers=headers).status == 403
    assert control.asked == []


@pytest.mark.parametrize(
    ("given", "found"),
    [("/rollouts/a?b=c", "/rollouts/a?b=c"), ("//evil.example", "/"), ("/\\evil", "/"), ("http://e", "/"),
     ("", "/"), ("javascript:x", "/"), ("/a\r\nset-cookie: x", "/"), ("/", "/")],
)  # fmt: skip
def test_logging_in_leads_nowhere_else(given, found):
    """``next`` is a path of ours."""
    assert local_path(given) == found


def test_changes_that_name_code_need_admin():
    """Applying a file, adding a version."""
    assert needed("POST", "/api/v1/apply") == "admin"
    assert needed("POST", "/api/v1/models/m/versions") == "admin"
    assert needed("GET", "/api/v1/models/m/versions") == "read"
    assert needed("POST", "/rollouts/m-1") == "operate"


def test_without_tokens_the_log_in_page_leads_on(control):
    """Nothing to log in to."""
    client = Client(create_app(control, Server(), clock=SimClock(control.now_us)), control)
    assert client.page("/login?next=/rollouts").headers["location"] == "/rollouts"
    assert client.form("/login", next="/rollouts").headers["location"] == "/rollouts"


def test_a_token_that_may_not_is_told_on_a_page(client, keys):
    """In a browser the refusal has the console's look, and says whose token it is."""
    token = bearer(keys[1]["predict"])
    answer = client.ask("GET", "/", headers={**token, "accept": "text/html"})
    assert answer.status == 403
    assert "<main" in answer.text and "predict-er" in answer.text and "RP-501" in answer.text
    assert client.ask("GET", "/", headers=token).json()["code"] == "RP-501"


def test_who_may_only_read_is_offered_no_change_of_a_model(client, keys):
    """Nor does the form do anything."""
    token = bearer(keys[1]["read"])
    accept = {"accept": "text/html"}
    html = client.ask("GET", "/models/fraud", headers={**token, **accept}).text
    assert "/models/fraud/start" not in html
    html = client.ask("GET", "/models/fraud/start", headers={**token, **accept}).text
    assert "Your token may read, not start" in html
    for path in ("/models/fraud/start", "/models/fraud"):
        answer = client.ask("POST", path, body=b"reason=because", headers=token)
        assert (answer.status, answer.json()["code"]) == (403, "RP-501")
