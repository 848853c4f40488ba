"""A real server whose model is declared anew while requests come: nobody notices but by the answer."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sklearn.dummy import DummyRegressor

from redpoll.host.lifeline import die_with_parent
from tests.cli.served import environment, wait_ready

CONFIG = """
data_dir = "data"
[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
[models.echo]
inputs = {x = "int"}
output = {name = "%s", type = "float"}
[models.echo.versions.v1]
backend = "sklearn:model.pkl"
workers = 2
"""
WITHIN_S = 60.0


class Caller(threading.Thread):
    """Asks without a pause; keeps each answer's status and the name of what was answered."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.seen: list[tuple[int, str]] = []
        self.ending = threading.Event()

    def run(self) -> None:
        while not self.ending.is_set():
            self.seen.append(self.ask())

    def ask(self) -> tuple[int, str]:
        request = urllib.request.Request(f"{self.url}/predict/echo", data=b'{"x": 1}')
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                rows: list[dict[str, Any]] = json.load(answer)["rows"]
                return answer.status, next(iter(rows[0]))
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def wait(what: Any) -> Any:
    end = time.monotonic() + WITHIN_S
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_a_changed_output_fails_no_request_while_workers_load(tmp_path: Path) -> None:
    """Old answers until the new workers are ready, new ones from then on, and never an error."""
    config = tmp_path / "redpoll.toml"
    config.write_text(CONFIG % "y")
    model = DummyRegressor(strategy="mean").fit([[1], [2]], [1.0, 2.0])
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    log = (tmp_path / "serve.log").open("wb")
    command = [sys.executable, "-m", "redpoll", "serve", "-c", str(config)]
    server = subprocess.Popen(
        command, stdout=log, stderr=log, env=environment(), preexec_fn=die_with_parent
    )
    try:
        caller = Caller(wait_ready(tmp_path))
        caller.start()
        wait(lambda: len(caller.seen) > 20)
        config.write_text(CONFIG % "z")
        server.send_signal(signal.SIGHUP)
        wait(lambda: caller.seen[-1][1] == "z" or caller.seen[-1][0] != 200)
        at = len(caller.seen)
        wait(lambda: len(caller.seen) > at + 100)
        caller.ending.set()
        caller.join(10)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        log.close()
    assert {status for status, _ in caller.seen} == {200}, caller.seen[-1]
    names = [name for _, name in caller.seen]
    assert names == sorted(names), "an old answer behind a new one"
