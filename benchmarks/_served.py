"""What benchmarks of the whole server share: a folder with cheap models, `redpoll serve`, traffic."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from redpoll.demo.server import DemoServer

MODELS = '''\
"""Models that cost next to nothing, so that what is measured is redpoll."""
import itertools

count = itertools.count()


def load_good():
    return lambda columns: {"y": columns["x"] * 2.0}


def load_bad():
    def predict(columns):
        if next(count) % 2:
            raise RuntimeError("one in two")
        return {"y": columns["x"] * 2.0}
    return predict
'''

CONFIG = """\
data_dir = "data"
[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
[models.m]
live = "v1"
unit = "user"
unit_from = "header:redpoll-unit"
inputs = {x = "float"}
[models.m.versions]
v1 = "python:cheap:load_good"
v2 = "python:cheap:load_bad"
[models.m.rollout]
steps = [{weight = "20%", pause = "0s"}, {weight = "50%", pause = "0s"}]
min_requests = 100000
"""


@contextlib.contextmanager
def served(folder: Path, config: str = CONFIG) -> Iterator[DemoServer]:
    """A running server over ``cheap.py`` in ``folder``."""
    (folder / "cheap.py").write_text(MODELS)
    (folder / "redpoll.toml").write_text(config)
    server = DemoServer(folder / "redpoll.toml")
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


class Load:
    """Threads that ask, each on one connection, ``rate`` requests a second in all."""

    def __init__(self, url: str, rate: float, threads: int = 2, units: int = 5000) -> None:
        self._host = url.removeprefix("http://")
        self._ending = threading.Event()
        self._gap_s, self._units = threads / rate, units
        self.answered = 0
        self._threads = [
            threading.Thread(target=self._ask, args=(i, threads)) for i in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, first: int, of: int) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=10)
        body = json.dumps({"x": 1.5})
        number, due = first, time.monotonic()
        while not self._ending.is_set():
            unit = f"u{number * 7919 % self._units}"
            connection.request("POST", "/predict/m", body, {"redpoll-unit": unit})
            connection.getresponse().read()
            self.answered += 1
            number, due = number + of, due + self._gap_s
            time.sleep(max(0.0, due - time.monotonic()))
        connection.close()
