"""What every request to the control plane passes: hosts, origins, sizes, headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.catalog import Server
from redpoll.clock import SimClock
from redpoll.errors import RedpollError
from redpoll.web import guard
from redpoll.web.app import create_app
from tests.web_control.conftest import HOST, Client

REASON = {"reason": "release"}
PAUSE = "/api/v1/rollouts/churn-17/pause"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8081", "localhost", "localhost:9000", "LOCALHOST:1", "[::1]:8081", "127.9.9.9"],
)
def test_loopback_hosts_are_ours_on_any_port(client, host):
    """A forwarded port has another number."""
    assert client.get("/healthz", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "[::1", "[::1]:99999", "[::1]:abc", "[localhost]:8081", "[::1]8081", "[::1]]:1", "::1",
        "localhost:99999", "localhost:0", "localhost:abc", "localhost:-1", "localhost:80:81",
        "localhost:8081/x", "user@localhost", "local host", "127.0.0.1:²", "localhost:+80",
    ],
)  # fmt: skip
def test_a_host_that_is_no_host_and_port_is_refused(client, host):
    """Half an address or an absurd port is no name of ours; a browser is told on a page."""
    answer = client.get("/api/v1/overview", host=host)
    assert (answer.status, answer.json()["code"]) == (403, "RP-502")
    page = client.get("/", host=host, accept="text/html")
    assert page.status == 403
    assert "<main" in page.text and "RP-502" in page.text


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8081",
        "",
        "10.0.0.1",
        "0.0.0.0",
    ],
)
def test_a_rebound_name_is_refused(client, host):
    """A page whose name was rebound to our address names its own host: it reads nothing."""
    for path in ("/", "/api/v1/overview", "/healthz", "/static/redpoll.css"):
        answer = client.get(path, host=host)
        assert answer.status == 403
        assert "RP-502" in answer.text


def test_a_request_without_host_or_with_two_is_refused(control):
    """Two hosts are two readings."""
    app = create_app(control, Server(), clock=SimClock(control.now_us))
    client = Client(app, control, headers={})
    assert client.get("/healthz").status == 403


def test_listening_beyond_loopback_takes_its_name_and_plain_addresses():
    """Rebinding needs a name, so an address is safe; another name is not."""
    listen = "console.example:8081"
    assert guard.allowed_host("console.example", listen)
    assert guard.allowed_host("CONSOLE.example:443", listen)
    assert guard.allowed_host("10.1.2.3:8081", listen)
    assert guard.allowed_host("[fd00::1]:8081", "0.0.0.0:8081")
    assert not guard.allowed_host("other.example:8081", listen)
    assert not guard.allowed_host("other.example", "0.0.0.0:8081")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "null", "", "http://127.0.0.1:9999", "http://localhost:8081",
        f"http://{HOST}.evil.example", f"http://evil.example/{HOST}", f"http://evil@{HOST}.x", "http://[", f"ftp://{HOST}",
    ],
)  # fmt: skip
def test_a_change_from_another_site_is_refused(client, control, origin):
    """Other hosts, other ports, opaque origins: none may act for the person at the browser."""
    answer = client.post(PAUSE, REASON, origin=origin)
    assert (answer.status, answer.json()["code"]) == (403, "RP-502")
    assert control.asked == []


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_browser_that_hides_the_origin_is_refused(client, control, site):
    """``Sec-Fetch-Site`` says it all the same."""
    assert client.post(PAUSE, REASON, sec_fetch_site=site).status == 403
    assert control.asked == []


def test_our_own_pages_and_programs_may_change(client):
    """The same origin, and tools that send none."""
    assert client.post(PAUSE, REASON, origin=f"http://{HOST}").status == 200
    assert client.post("/api/v1/rollouts/churn-17/resume", REASON).status == 200


def test_reading_with_a_foreign_origin_is_not_shared(client):
    """No ``Access-Control-Allow-Origin``, ever: the browser keeps the answer from the other page."""
    answer = client.get("/api/v1/overview", origin="http://evil.example")
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/rollouts/churn-17",
        "/api/v1/overview",
        "/static/redpoll.css",
        "/nothing",
        "/rollouts/no",
    ],
)
def test_every_answer_has_the_security_headers(client, path):
    """Errors and files too."""
    headers = client.page(path).headers
    policy = headers["content-security-policy"]
    for part in (
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "script-src 'self'",
    ):
        assert part in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("length", ["1048577", "99999999999999999999", "-1", "abc", "1e3"])
def test_a_declared_length_beyond_the_bound_is_refused_unread(client, length):
    """So is one that is no number."""
    answer = client.ask("POST", PAUSE, body=b"{}", headers={"content-length": length})
    assert (answer.status, answer.json()["code"]) == (413, "RP-106")


def test_a_body_that_grows_beyond_the_bound_is_refused(client, control):
    """A chunked body declares nothing; it is counted."""
    chunks = [b'{"reason": "' + b"x" * 600_000, b"y" * 600_000, b'"}']
    answer = client.ask("POST", PAUSE, chunks=chunks)
    assert (answer.status, answer.json()["code"]) == (413, "RP-106")
    assert control.asked == []


@given(
    st.text(max_size=60), st.sampled_from(["127.0.0.1:8081", "0.0.0.0:1", "a.example:2", "[::1]:3"])
)
def test_no_host_header_breaks_the_check(host, listen):
    """Whatever bytes come: yes or no, never an exception."""
    assert guard.allowed_host(host, listen) in (True, False)


@given(st.text(max_size=80))
def test_a_foreign_origin_never_passes(origin):
    """Only an origin whose authority is exactly the host's passes."""
    headers = {"host": HOST, "origin": origin}
    try:
        guard.check("POST", headers, "127.0.0.1:8081")
    except RedpollError as error:
        assert error.code == "RP-502"
    else:
        assert origin.lower() in (f"http://{HOST}", f"https://{HOST}")
