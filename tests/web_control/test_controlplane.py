"""The control process as the supervisor starts it: sockets, signals, its file, its end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FILE = """data_dir = "data"
[models.churn]
live = "v1"
[models.churn.versions]
v1 = "http://127.0.0.1:9/v2/models/churn"
"""


class Process:
    """One control process on a socket of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "redpoll.toml"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lifeline, self.held = os.pipe()
        self.log = (folder / "log").open("wb+")
        fds = [self.listener.fileno(), self.lifeline]
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "redpoll.web.controlplane", "--data-dir", str(folder / "data"),
                "--fd", str(fds[0]), "--config", str(self.config), "--lifeline", str(fds[1]),
            ],
            pass_fds=fds, stderr=self.log, stdout=self.log,
        )  # fmt: skip

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request; waits in the listener's queue until the process accepts."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def until(self, what: str) -> str:
        """The log once it says ``what``."""
        end = time.monotonic() + 15
        while what not in (text := (self.folder / "log").read_text()):
            assert time.monotonic() < end, text
            time.sleep(0.02)
        return text

    def close(self) -> None:
        """Whatever is left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for fd in (self.lifeline, self.held):
            if fd >= 0:
                os.close(fd)
        self.listener.close()
        self.log.close()


@pytest.fixture
def process(tmp_path) -> Iterator[Process]:
    (tmp_path / "redpoll.toml").write_text(FILE)
    found = Process(tmp_path)
    yield found
    found.close()


def test_it_applies_its_file_answers_and_ends_at_once_on_sigterm(process):
    """Before the first answer; an open event stream does not hold the end up; exit code 0."""
    status, view = process.ask("GET", "/api/v1/models/churn")
    assert (status, view["live"]) == (200, "v1")
    stream = http.client.HTTPConnection("127.0.0.1", process.port, timeout=20)
    stream.request("GET", "/api/v1/events")
    answer = stream.getresponse()
    assert answer.readline() == b"retry: 1000\n"
    began = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(10) == 0
    assert time.monotonic() - began < 3
    answer.close()
    stream.close()


def test_sighup_applies_the_file_again_and_a_bad_file_changes_nothing(process):
    """All errors of the bad one are logged, and what was applied stays."""
    process.ask("GET", "/healthz")
    process.config.write_text(FILE.replace("v1 =", 'v0 = "http://127.0.0.1:9/v2/models/old"\nv1 ='))
    process.process.send_signal(signal.SIGHUP)
    process.until("v0 is added")
    names = [v["name"] for v in process.ask("GET", "/api/v1/models/churn/versions")[1]["versions"]]
    assert sorted(names) == ["v0", "v1"]
    process.config.write_text(FILE + "wrong = 1\nworse = 2\n")
    process.process.send_signal(signal.SIGHUP)
    text = process.until("was not applied")
    assert "wrong" in text and "worse" in text
    assert process.ask("GET", "/api/v1/models/churn")[1]["live"] == "v1"


def test_it_ends_when_the_supervisor_is_gone(process):
    """The lifeline's other end closes with it."""
    process.ask("GET", "/healthz")
    os.close(process.held)
    process.held = -1
    assert process.process.wait(10) == 0


def test_a_rollout_is_started_and_stopped_over_http(process):
    """The real control behind the real API; a second start reads the same from the journal."""
    process.ask("GET", "/healthz")
    process.config.write_text(FILE.replace("v1 =", 'v2 = "http://127.0.0.1:9/v2/models/new"\nv1 ='))
    process.process.send_signal(signal.SIGHUP)
    process.until("v2 is added")
    body = {"version": "v2", "reason": "try it", "actor": "ana"}
    status, rollout = process.ask("POST", "/api/v1/models/churn/rollouts", body)
    assert (status, rollout["id"], rollout["state"]) == (201, "churn-1", "pending")
    status, rollout = process.ask("POST", "/api/v1/rollouts/churn-1/abort", {"reason": "not now"})
    assert (status, rollout["state"]) == (200, "aborted")
    decisions = process.ask("GET", "/api/v1/rollouts/churn-1/decisions")[1]["decisions"]
    assert [d["action"] for d in decisions] == ["abort", "start"]
    assert decisions[1]["actor"] == "ana"
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(10) == 0
    again = Process(process.folder)
    try:
        assert again.ask("GET", "/api/v1/rollouts/churn")[1]["state"] == "aborted"
    finally:
        again.close()


@pytest.mark.parametrize(
    ("sent", "status", "code", "says"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 403, "RP-502", "exactly one Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 403, "RP-502", "exactly one Host"),
        (b"GET / HTTP/1.0\r\n\r\n", 403, "RP-502", "exactly one Host"),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 403, "RP-502", "no host and port"),
        (b"\x16\x03\x01\x00\xa5\x01\r\n\r\n", 400, "RP-100", "no HTTP request"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000, 413, "RP-106", "larger"),
    ],
)
def test_bytes_that_are_no_request_of_ours_get_an_error_with_a_code(
    process, sent, status, code, says
):
    """JSON as always, not the server's plain text; and the connection ends."""
    with socket.create_connection(("127.0.0.1", process.port), timeout=20) as connection:
        connection.sendall(sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        said = json.loads(answer.read())
        assert (answer.status, said["code"]) == (status, code)
        assert says in said["error"]
        assert answer.getheader("content-type") == "application/json"
        assert answer.getheader("x-content-type-options") == "nosniff"
        answer.close()
    assert process.ask("GET", "/healthz")[0] == 200
