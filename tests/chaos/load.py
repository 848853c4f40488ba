"""Load from plain keep-alive clients that remember what they were answered."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from typing import NamedTuple

from tests.chaos.models import PLANS

WAIT_S = 15.0


class Answered(NamedTuple):
    """A whole reply that names its prediction."""

    prediction_id: str
    status: int
    version: str


class Load:
    """``rate`` requests/s over ``clients`` connections, until :meth:`stop`.

    A connection that breaks is opened anew; what was sent on it may or may not have been answered,
    and is not counted.
    """

    def __init__(self, port: int, *, clients: int, rate: float, seed: int) -> None:
        self.answered: list[Answered] = []
        self.broken = 0  # connections that ended in the middle of a request
        self.refused = 0  # attempts to connect while nobody listened
        self.malformed: list[str] = []
        self._port = port
        self._gap_s = clients / rate
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed * 1000 + at),), daemon=True)
            for at in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End it, once what is under way was answered."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(WAIT_S + 5)
            assert not thread.is_alive(), "a client still waits for an answer"

    def _run(self, dice: random.Random) -> None:
        sock: socket.socket | None = None
        due = time.monotonic() + dice.random() * self._gap_s
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + dice.expovariate(1 / self._gap_s), time.monotonic() - 0.5)
            if sock is None:
                try:
                    sock = socket.create_connection(("127.0.0.1", self._port), WAIT_S)
                except OSError:
                    self.refused += 1
                    self._stopping.wait(0.02)
                    continue
            try:
                keep = self._ask(sock, dice)
            except OSError:
                self.broken += 1
                keep = False
            if not keep:
                sock.close()
                sock = None
        if sock is not None:
            sock.close()

    def _ask(self, sock: socket.socket, dice: random.Random) -> bool:
        """One request; whether the connection can be used again. ``OSError``: it broke."""
        row = {"a": dice.gauss(0, 1), "b": dice.gauss(0, 1), "plan": dice.choice(PLANS)}
        body = json.dumps(row).encode()
        sock.sendall(
            b"POST /predict/m HTTP/1.1\r\nHost: chaos\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        data = b""
        while b"\r\n\r\n" not in data:
            data += _some(sock)
        head, _, content = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:])
        }
        while len(content) < int(headers["content-length"]):
            content += _some(sock)
        if len(content) > int(headers["content-length"]):
            self.malformed.append(data.decode("utf-8", "replace"))
        status = int(lines[0].split()[1])
        if "redpoll-prediction-id" in headers:
            version = headers.get("redpoll-version", "")
            self.answered.append(Answered(headers["redpoll-prediction-id"], status, version))
        return headers.get("connection", "").lower() != "close"


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionResetError("closed in the middle of a request")
    return data
