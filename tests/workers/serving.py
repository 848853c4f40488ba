"""A whole ``redpoll serve`` on a folder, for tests that look at models from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redpoll.client import Client
from redpoll.host.lifeline import die_with_parent

HEAD = """
data_dir = "data"
[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
drain = "1s"
"""
START_S = 90.0


class Serving:
    """Where it answers, and what it says of its workers."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.url = ""

    @property
    def client(self) -> Client:
        return Client(self.url, timeout_s=20.0)

    def workers(self) -> dict[str, dict[str, Any]]:
        """``<model>/<version>`` -> the first worker's entry in ``workers.json``."""
        try:
            known = json.loads((self.folder / "data/run/workers.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return {f"{one['model']}/{one['version']}": one for one in reversed(known.values())}

    def log(self) -> str:
        return (self.folder / "serve.log").read_text(errors="replace")

    def stderr(self, model: str, version: str = "v1") -> str:
        return (self.folder / f"data/run/logs/{model}--{version}--0.log").read_text()

    def get(self, path: str) -> tuple[int, Any]:
        return self.send(path, None)

    def send(self, path: str, body: Any) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return reply.status, json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def until(self, what: Any, for_s: float = START_S) -> Any:
        """Wait for something to become true; returns it."""
        end = time.monotonic() + for_s
        while True:
            with contextlib.suppress(OSError):
                if found := what():
                    return found
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < end, f"{self.workers()}\n{self.log()}"
            time.sleep(0.05)

    def ready(self, *models: str) -> None:
        """Wait until the gateway says so."""
        for model in models:
            self.until(lambda m=model: self.get(f"/v2/models/{m}/ready")[0] == 200)


@contextlib.contextmanager
def serving(folder: Path, config: str, *models: str) -> Iterator[Serving]:
    """``redpoll serve`` on a folder, once these models are ready."""
    (folder / "redpoll.toml").write_text(HEAD + config)
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "redpoll", "serve", "-c", str(folder / "redpoll.toml")],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONWARNINGS": ""},
            preexec_fn=die_with_parent,
        )
    server = Serving(folder, process)
    try:
        said = server.until(
            lambda: json.loads((folder / "data/run/server.json").read_bytes()).get("data")
        )
        server.url = f"http://{said}"
        server.ready(*models)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
