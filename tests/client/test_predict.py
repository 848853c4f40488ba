"""Predictions over the client."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime

import numpy as np
import pytest

from redpoll.client import Client, ClientError
from tests.client.servers import recording

ANSWER = {"prediction_id": "0190-id", "version": "v2", "rows": [{"churn": 1, "probability": 0.7}]}
HEADERS = {"redpoll-decided-by": "model", "redpoll-version": "v2"}


def test_a_prediction_says_what_was_answered_by_whom() -> None:
    """Id and version from the body, who decided from the header, one dict a row."""
    with recording((200, HEADERS, ANSWER)) as server, Client(server.url) as client:
        answer = client.predict("churn", {"age": 41, "plan": "basic"})
    assert (answer.id, answer.version, answer.decided_by) == ("0190-id", "v2", "model")
    assert answer.rows[0]["churn"] == 1
    assert server.seen[0].path == "/predict/churn"
    assert json.loads(server.seen[0].body) == {"age": 41, "plan": "basic"}


def test_everything_about_a_request_travels_in_its_headers() -> None:
    """Unit, subject, groups, request id, deadline and token; a group's name with dashes."""
    with recording((200, HEADERS, ANSWER)) as server:
        client = Client(server.url, token="t0ken")
        client.predict(
            "churn", [{"age": 1}, {"age": 2}], version="1.10", unit="u-17", subject="p-ä",
            groups={"age_band": "40-50"}, request_id="r-1", deadline_ms=250,
        )  # fmt: skip
        client.close()
    seen = server.seen[0]
    assert seen.path == "/predict/churn/versions/1.10"
    assert json.loads(seen.body) == {"rows": [{"age": 1}, {"age": 2}]}
    assert seen.headers["redpoll-unit"] == "u-17"
    assert seen.headers["redpoll-subject"].encode("latin-1").decode() == "p-ä"
    assert seen.headers["redpoll-group-age-band"] == "40-50"
    assert seen.headers["x-request-id"] == "r-1"
    assert seen.headers["redpoll-deadline-ms"] == "250"
    assert seen.headers["authorization"] == "Bearer t0ken"


def test_numpy_values_times_and_nan_become_plain_json() -> None:
    """What a data frame's row holds can be sent: NaN, which JSON lacks, as null."""
    row = {
        "a": np.int64(2**53 + 1),
        "b": np.float32(0.5),
        "c": float("nan"),
        "d": datetime(2026, 11, 24, tzinfo=UTC),
        "e": np.float64("nan"),
        "f": np.bool_(True),
    }
    with recording((200, {}, ANSWER)) as server, Client(server.url) as client:
        client.predict("m", row)
    assert json.loads(server.seen[0].body) == {
        "a": 9007199254740993, "b": 0.5, "c": None, "d": "2026-11-24T00:00:00+00:00", "e": None,
        "f": True,
    }  # fmt: skip


@pytest.mark.parametrize("row", [{"a": object()}, {"a": float("inf")}, {"a": {1, 2}}, [[1, 2]]])
def test_rows_that_json_cannot_hold_are_refused_before_anything_is_sent(row: object) -> None:
    """The error is the client's own RP-101."""
    with recording((200, {}, ANSWER)) as server, Client(server.url) as client:
        with pytest.raises(ClientError) as caught:
            client.predict("m", row)  # type: ignore[arg-type]
        assert caught.value.code == "RP-101"
        assert not server.seen


def test_a_control_character_in_a_header_is_refused() -> None:
    """A unit cannot smuggle a header."""
    with recording((200, {}, ANSWER)) as server, Client(server.url) as client:
        with pytest.raises(ClientError, match="control character"):
            client.predict("m", {}, unit="u\r\nauthorization: x")
        assert not server.seen


def test_a_refusal_keeps_the_servers_code_words_and_wait() -> None:
    """429 and 503 say how long to wait; predict itself does not try again."""
    body = {"error": "too many; retry", "code": "RP-108"}
    with recording((503, {"retry-after": "2"}, body)) as server, Client(server.url) as client:
        with pytest.raises(ClientError) as caught:
            client.predict("m", {"a": 1})
        error = caught.value
        assert (error.code, error.status, error.retry_after_s) == ("RP-108", 503, 2.0)
        assert "RP-108" in str(error)
        assert len(server.seen) == 1


def test_an_answer_that_is_not_redpolls_is_said_so() -> None:
    """A proxy's error page, or a page where JSON was expected."""
    refused = pytest.raises(ClientError, match="no JSON")
    with recording((200, {}, b"<html>hello")) as server, Client(server.url) as client, refused:
        client.predict("m", {"a": 1})
    with recording((404, {}, b"<html>")) as server, Client(server.url) as client:
        with pytest.raises(ClientError) as caught:
            client.predict("m", {"a": 1})
        assert caught.value.code == "RP-601"


def test_a_pending_answer_has_no_rows() -> None:
    """202: a person will answer."""
    said = {"prediction_id": "p", "version": "v1"}
    with recording((202, {"redpoll-decided-by": "pending"}, said)) as server:
        answer = Client(server.url).predict("m", {"a": 1})
    assert (answer.decided_by, answer.rows) == ("pending", ())


def test_threads_share_a_client_and_each_gets_its_own_answer() -> None:
    """Eight threads; connections are reused, never shared at one time."""
    with recording((200, HEADERS, ANSWER)) as server, Client(server.url) as client:

        def ask() -> None:
            for _ in range(20):
                assert client.predict("m", {"a": 1}).id == "0190-id"

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.seen) == 160
    assert len({seen.port for seen in server.seen}) <= 8


def test_addresses_and_token_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """REDPOLL_URL and REDPOLL_TOKEN, as deployments set them."""
    with recording((200, {}, ANSWER)) as server:
        monkeypatch.setenv("REDPOLL_URL", server.url + "/behind/a/proxy/")
        monkeypatch.setenv("REDPOLL_TOKEN", "from-env")
        with Client() as client:
            client.predict("m", {"a": 1})
    assert server.seen[0].path == "/behind/a/proxy/predict/m"
    assert server.seen[0].headers["authorization"] == "Bearer from-env"


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://h:notaport", ""])
def test_an_address_that_is_none_is_refused_at_once(url: str, monkeypatch) -> None:
    """An empty one means the default."""
    monkeypatch.delenv("REDPOLL_URL", raising=False)
    if not url:
        Client(url).close()
        return
    with pytest.raises(ClientError) as caught:
        Client(url)
    assert caught.value.code == "RP-601"


def test_nobody_listening_is_one_clear_sentence() -> None:
    """Not a traceback of sockets."""
    with Client("http://127.0.0.1:9") as client, pytest.raises(ClientError) as caught:
        client.predict("m", {"a": 1})
    assert caught.value.code == "RP-601"
    assert "redpoll serve" in caught.value.message


def test_the_client_needs_nothing_but_the_standard_library() -> None:
    """Importing it imports no third-party package and nothing else of redpoll."""
    code = (
        "import sys; before = set(sys.modules); import redpoll.client; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; "
        "extra = {m for m in new if m not in sys.stdlib_module_names and m != 'redpoll'}; "
        "mine = {m for m in sys.modules if m.startswith('redpoll.')"
        " and not m.startswith('redpoll.client')}; "
        "assert not extra and not mine, (extra, mine)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
