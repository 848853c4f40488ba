"""Light models in the gateway's own process, and their workers for all that is not plain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from redpoll.client import ClientError
from tests.workers.serving import Serving, serving

# Says in which process it was asked: a worker runs as redpoll_worker, the gateway does not.
MODEL = """
import os, sys, time

def load():
    def predict(columns):
        x = columns["x"]
        if 13.0 in x:
            raise ValueError("unlucky")
        if 99.0 in x:
            time.sleep(0.02)
        where = "worker" if "redpoll_worker" in sys.modules else "gateway"
        return {
            "y": [None if value is None else value * 2 for value in x],
            "where": [where] * len(x),
            "seen": [type(value).__name__ for value in x],
        }
    return predict
"""
CONFIG = """
[models.m]
inputs = {x = "float"}
redact = ["x"]
[models.m.versions.v1]
backend = "in-process:light:load"
"""


def ask(server: Serving, x: Any) -> dict[str, Any]:
    found: dict[str, Any] = server.client.predict("m", {"x": x}).rows[0]
    return found


def here(server: Serving) -> bool:
    return bool(ask(server, 1.0)["where"] == "gateway")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "light.py").write_text(MODEL)
    return tmp_path


def test_it_is_answered_in_the_gateway_and_what_is_not_plain_by_its_worker(folder: Path) -> None:
    """The same answers either way; a failure is told as a worker tells it."""
    with serving(folder, CONFIG, "m") as server:
        server.until(lambda: here(server))
        row = ask(server, 4.0)
        assert (row["y"], row["where"], row["seen"]) == (8.0, "gateway", "float")
        assert ask(server, None)["y"] is None
        x = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1, 2.5]}
        status, answer = server.send("/v2/models/m/infer", {"id": "a", "inputs": [x]})
        assert (status, answer["id"], answer["model_version"]) == (200, "a", "v1")
        here_, there = {}, {}
        for one in answer["outputs"]:
            here_[one["name"]] = one
        status, answer = server.send(
            "/v2/models/m/infer",
            {"inputs": [x], "outputs": [{"name": n} for n in ("y", "where", "seen")]},
        )
        for one in answer["outputs"]:
            there[one["name"]] = one
        assert there.pop("where")["data"] == ["worker", "worker"]
        assert here_.pop("where")["data"] == ["gateway", "gateway"]
        assert here_ == there
        with pytest.raises(ClientError, match="ValueError: unlucky") as caught:
            ask(server, 13.0)
        assert caught.value.status in (500, 502)
        assert "13.0" not in server.stderr("m")
        with pytest.raises(ClientError) as caught:
            server.client.predict("m", {"x": "a"})
        assert caught.value.status == 400


def test_one_that_is_not_light_is_left_to_its_worker(folder: Path) -> None:
    """After three calls that kept everybody else waiting; it is said in the log."""
    with serving(folder, CONFIG, "m") as server:
        server.until(lambda: here(server))
        for _ in range(4):
            ask(server, 99.0)
        assert not here(server)
        time.sleep(1.2)
        assert not here(server)
        assert "is not light" in server.log()


def test_one_that_the_gateway_cannot_load_is_answered_by_its_worker(folder: Path) -> None:
    """A module beside it is on a worker's path only; changed code is taken up."""
    (folder / "helper.py").write_text("")
    (folder / "light.py").write_text("import helper\n" + MODEL)
    with serving(folder, CONFIG, "m") as server:
        server.until(lambda: "cannot be loaded in the gateway" in server.log())
        assert ask(server, 4.0)["y"] == 8.0
        assert not here(server)
        (folder / "light.py").write_text(MODEL)
        server.until(lambda: here(server))


def test_it_goes_on_while_its_worker_is_started_again(folder: Path) -> None:
    """And every answer is in the journal, as any."""
    with serving(folder, CONFIG, "m") as server:
        server.until(lambda: here(server))
        os.kill(server.workers()["m/v1"]["pid"], signal.SIGKILL)
        for n in range(20):
            assert ask(server, float(n + 20))["where"] == "gateway"
    sql = "SELECT count(*) AS answers FROM answer WHERE status = 'ok' AND version = 'v1'"
    done = subprocess.run(
        [sys.executable, "-m", "redpoll", "log", "query", "--json", sql],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert json.loads(done.stdout)[0]["answers"] >= 21, done.stderr
