"""Errors for people: a page in the console's look, with ways out; programs get JSON."""

from __future__ import annotations

import pytest

from redpoll.errors import RedpollError
from redpoll.web import error_page
from redpoll.web.accept import prefers_html
from tests.web_control.conftest import HOST
from tests.web_control.test_console import parsed, plain

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


def said(answer):
    """The page as text, quotes made plain."""
    return plain(answer.text).replace("&#39;", "'")


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/rolouts", "/rollouts"),
        ("/rollout/churn-17", "/rollouts/churn-17"),
        ("/rollouts/churn-71", "/rollouts/churn-17"),
        ("/models/chrun", "/models/churn"),
        ("/model/fraud", "/models/fraud"),
        ("/models/fraud/strat", "/models/fraud/start"),
        ("/Rollouts", "/rollouts"),
    ],
)
def test_an_address_at_which_nothing_is_leads_to_the_nearest_page(client, path, near):
    """404, the console's frame, the page that was probably meant, and those that there are."""
    answer = client.page(path)
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    parsed(answer.text)
    assert f'<dt>Did you mean</dt><dd><a href="{near}">' in answer.text
    assert 'href="/models/defects"' in answer.text and 'href="/rollouts/fraud-9"' in answer.text
    assert "redpoll explain RP-" in answer.text


def test_what_is_like_nothing_gets_links_alone(client):
    """No guess where there is none."""
    html = client.page("/wp-login.php").text
    assert "Did you mean" not in html and 'href="/models/churn"' in html


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/rollouts/no.json", "/now.csvx.csv"])
def test_files_and_the_api_answer_json_to_browsers_too(client, path):
    """An address of data stays one."""
    answer = client.page(path)
    assert (answer.status, answer.json()["code"][:4]) == (
        404,
        "RP-1" if "/r" not in path else "RP-4",
    )


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (CHROMIUM, True),
        ("text/html", True),
        ("TEXT/HTML;Q=0.9", True),
        ("text/html, application/json", True),
        ("application/json, text/html", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        ("*/*", False),
        ("", False),
        ("text/htmlx", False),
    ],
)
def test_the_accept_header_decides(client, accept, html):
    """By what is preferred, as RFC 9110 has it."""
    assert prefers_html(accept) is html
    kind = client.get("/nothing", accept=accept).headers["content-type"]
    assert kind.startswith("text/html" if html else "application/json")


def test_a_refused_host_origin_and_size_are_pages_too(client):
    """Refused at the door: nothing of this server is on the page but its frame."""
    form = {"content-type": "application/x-www-form-urlencoded", "accept": CHROMIUM}
    foreign = client.ask("POST", "/rollouts/churn-17", body=b"action=abort",
                         headers={**form, "origin": "http://evil.example"})  # fmt: skip
    host = client.get("/", host="evil.example", accept=CHROMIUM)
    large = client.ask("POST", "/rollouts/churn-17", body=b"x",
                       headers={**form, "origin": f"http://{HOST}", "content-length": "9999999"})  # fmt: skip
    for answer, status, code in (
        (foreign, 403, "RP-502"),
        (host, 403, "RP-502"),
        (large, 413, "RP-106"),
    ):
        assert answer.status == status
        parsed(answer.text)
        assert code in said(answer)
        assert "somebody on this machine" not in answer.text
        assert "churn-17" not in plain(answer.text).replace("/rollouts/churn-17", "")


def test_a_method_that_a_page_does_not_take_is_a_page(client):
    """405 with what is taken."""
    answer = client.ask("POST", "/rollouts", headers={"accept": CHROMIUM})
    assert answer.status == 405 and "GET" in answer.headers["allow"]
    assert "/rollouts does not take POST, only GET, HEAD." in said(answer)


def test_a_mistake_is_a_page_without_its_details(client, control, caplog):
    """500, and traffic is not affected."""
    control.error = ValueError("secret detail")
    answer = client.page("/")
    assert answer.status == 500
    parsed(answer.text)
    assert "redpoll made a mistake" in said(answer) and "secret" not in answer.text
    assert "secret detail" in caplog.text


def test_a_page_whose_control_is_away_still_comes(client, control):
    """The links are left out where they cannot be had."""
    control.error = RedpollError("RP-404", "control is starting")
    assert error_page.ways(control, "/rolouts") == {"near": None, "links": []}


def test_a_misspelled_filter_is_said_not_ignored(client):
    """Everything would be shown, as if it fitted."""
    answer = client.page("/rollouts?stat=rolled_back")
    assert answer.status == 400
    assert "Did you mean 'state'?" in said(answer)
