"""A real gateway process on a real socket, with its own data folder."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from redpoll import routes
from redpoll.capture import materialise
from redpoll.catalog import Limits, Model, Server, Version
from redpoll.facts import Answer, Request
from redpoll.host.paths import DataDir, replace
from redpoll.journal.files import FileJournal
from redpoll.routes import Route, Table, Target


class GatewayProcess:
    """``with GatewayProcess(folder, {"v1": url}) as gateway``; the socket outlives restarts."""

    def __init__(
        self,
        folder: Path,
        urls: dict[str, str],
        model: Model = Model(name="m"),
        *,
        limits: Limits = Limits(),
        drain_s: float = 5.0,
        tokens_file: str | None = None,
        timeout_ms: int = 5000,
        on_journal_failure: str = "refuse",
        **route: Any,
    ) -> None:
        self.data = DataDir(folder / "data").make()
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(4096)
        self.port = self.listener.getsockname()[1]
        server = Server(
            data=f"127.0.0.1:{self.port}",
            limits=limits,
            drain_s=drain_s,
            tokens_file=tokens_file,
            on_journal_failure=on_journal_failure,
        )
        replace(self.data.server, msgspec.json.encode({"server": server}))
        targets = {}
        for name, url in urls.items():
            kind = "sklearn:m.pkl" if url.startswith("unix:") else url
            version = Version(name=name, backend=kind, timeout_ms=timeout_ms)
            targets[name] = Target(version=version, addresses=(url,))
        known = {
            "model": model,
            "number": 7,
            "generation": 1,
            "live": next(iter(urls), None),
            "targets": targets,
        }
        self.write(Table(generation=1, routes={model.name: Route(**(known | route))}))
        self.process: subprocess.Popen[bytes] | None = None
        self.lifeline: tuple[int, int] = (-1, -1)
        self.clients: list[socket.socket] = []

    def write(self, table: Table) -> None:
        replace(self.data.routes, routes.encode(table))

    def start(self) -> None:
        read, write = os.pipe()
        fd = self.listener.fileno()
        command = [sys.executable, "-m", "redpoll.web.dataplane", "--data-dir", str(self.data.root)]
        command += ["--fd", str(fd), "--lifeline", str(read)]
        self.process = subprocess.Popen(command, pass_fds=(fd, read), stderr=subprocess.PIPE)
        os.close(read)
        self.lifeline = (-1, write)

    def __enter__(self) -> GatewayProcess:
        self.start()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                break
            if self.ask("GET", "/v2/health/ready")[0] == 200:
                return self
            time.sleep(0.02)
        self.__exit__(None, None, None)
        raise RuntimeError("the gateway did not become ready")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait(10)
            assert self.process.stderr is not None
            self.process.stderr.close()
        if self.lifeline[1] >= 0:
            os.close(self.lifeline[1])
        for one in (*self.clients, self.listener):
            one.close()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        os.close(self.lifeline[1])
        self.lifeline = (-1, -1)

    def term(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, given)
            reply = connection.getresponse()
            raw = reply.read()
            said = (
                json.loads(raw) if "json" in (reply.headers["content-type"] or "") else raw.decode()
            )
            return reply.status, said, {k.lower(): v for k, v in reply.headers.items()}
        except (OSError, http.client.HTTPException):
            return 0, None, {}
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=15)
        self.clients.append(client)
        return client

    def facts(self) -> list[Any]:
        return [materialise(entry) for entry in FileJournal(self.data).read()]

    def requests(self) -> list[Request]:
        return [fact for fact in self.facts() if isinstance(fact, Request)]

    def answers(self) -> list[Answer]:
        return [fact for fact in self.facts() if isinstance(fact, Answer)]


def until(holds: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
