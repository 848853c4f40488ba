"""A real ``redpoll serve`` in another process, with a model of two versions that can fail."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redpoll.host.lifeline import die_with_parent

START_S = 60.0
CONFIG = """
data_dir = "data"
[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
metrics = "127.0.0.1:0"
[models.price]
live = "v1"
unit = "user"
unit_from = "header:redpoll-unit"
inputs = {age = "int", plan = "category", note = "text"}
output = {name = "price", type = "float"}
groups = {sex = "header"}
redact = ["note"]
[models.price.versions.v1]
backend = "python:shop:load"
workers = 2
timeout_ms = 30000
[models.price.versions.v2]
backend = "python:shop:load"
[models.price.outcomes.bought]
window = "1d"
[models.price.rollout]
steps = [{weight = "50%", pause = "manual"}]
"""
MODEL = """
import pathlib
import time
def load():
    def predict(columns):
        for plan in columns["plan"]:
            if plan == "boom":
                raise ValueError("no price for plan 'boom'")
            end = time.monotonic() + 20
            while plan == "held" and not pathlib.Path("go").exists() and time.monotonic() < end:
                time.sleep(0.02)
        return {"price": columns["age"] * 1.5}
    return predict
"""


class Shop:
    """What runs in a folder, and how it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "serve.log"

    @property
    def said(self) -> dict[str, Any]:
        """``run/server.json``."""
        return json.loads((self.folder / "data/run/server.json").read_text())

    def ask(
        self, plane: str, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request to the plane ``data`` or ``control``."""
        connection = http.client.HTTPConnection(self.said[plane], timeout=20)
        try:
            raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, raw, named)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """JSON of the control plane."""
        status, _, raw = self.ask("control", "GET", path)
        assert status == 200, raw
        return json.loads(raw)

    def predict(self, plan: str = "pro", unit: str = "u-1", **headers: str) -> dict[str, str]:
        """One prediction; the headers of its answer, with ``:status``."""
        row = {"age": 41, "plan": plan, "note": "call 555-0123"}
        status, found, _ = self.ask(
            "data", "POST", "/predict/price", row, redpoll_unit=unit, **headers
        )
        return {":status": str(status), **found}

    def metrics(self) -> str:
        """The text of ``/metrics``."""
        return self.ask("data", "GET", "/metrics")[2].decode()

    def metric(self, line: str) -> float:
        """A series' value; 0 where it is not there."""
        found = [one for one in self.metrics().splitlines() if one.startswith(line + " ")]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    def ready(self) -> bool:
        """Whether it predicts."""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            return self.predict(unit="u-0")[":status"] == "200"
        return False


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Shop]:
    """The server for the length of a ``with``."""
    (folder / "redpoll.toml").write_text(CONFIG)
    (folder / "shop.py").write_text(MODEL)
    shop = Shop(folder)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REDPOLL_")}
    with shop.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "redpoll", "serve"],
            cwd=folder,
            env=environment,
            stderr=log,
            preexec_fn=die_with_parent,
        )
        try:
            until(shop.ready, START_S)
            yield shop
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def until(holds: Callable[[], Any], seconds: float = 15.0) -> Any:
    """What ``holds`` answers, once that is true."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found
