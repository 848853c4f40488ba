"""A worker process and a plain client of it, for tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from redpoll import backends

PROGRAM = Path(backends.__file__).parent / "worker" / "__main__.py"
TIMEOUT_S = 20.0


class Client:
    """One keep-alive connection to a Unix socket."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise
        self.rest = b""

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        lines = [f"{method} {path} HTTP/1.1", "Host: worker", f"Content-Length: {len(raw)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + raw)

    def receive(self) -> tuple[int, Any]:
        data = self.rest
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(1 << 16)
            if not more:
                raise ConnectionError("closed")
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self.sock.recv(1 << 16)
        self.rest = body[length:]
        return int(head.split()[1]), json.loads(body[:length])

    def ask(self, *arguments: Any, **options: Any) -> tuple[int, Any]:
        self.send(*arguments, **options)
        return self.receive()

    def close(self) -> None:
        self.sock.close()


class Worker:
    """A worker of version v1 of model ``m``, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        backend: str,
        *,
        wait: bool = True,
        arguments: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
        files: tuple[str, ...] = (),
        version: dict[str, Any] | None = None,
        **model: Any,
    ) -> None:
        spec = {
            "model": {"name": "m", **model},
            "version": {
                "name": "v1",
                "backend": backend,
                "folder": str(folder),
                "files": files,
                **(version or {}),
            },
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        self.path = str(folder / "w.sock")
        self.log = folder / "stderr.log"
        options = ("--spec", str(folder / "spec.json"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), *options, "--socket", self.path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=pass_fds,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self._clients: list[Client] = []
        if wait:
            self.wait_ready()

    def client(self) -> Client:
        end = time.monotonic() + TIMEOUT_S
        while True:
            try:
                client = Client(self.path)
                break
            except OSError:
                assert self.process.poll() is None, self.stderr()
                assert time.monotonic() < end, "the worker never listened"
                time.sleep(0.01)
        self._clients.append(client)
        return client

    def wait_ready(self) -> None:
        client = self.client()
        end = time.monotonic() + TIMEOUT_S
        while client.ask("GET", "/v2/health/ready")[0] != 200:
            assert self.process.poll() is None, self.stderr()
            assert time.monotonic() < end, "the worker never became ready"
            time.sleep(0.01)
        client.close()

    def infer(self, inputs: list[dict[str, Any]], **more: Any) -> tuple[int, Any]:
        client = self.client()
        try:
            headers = more.pop("headers", None)
            body = {"inputs": inputs, **more}
            return client.ask("POST", "/v2/models/m/infer", body, headers)
        finally:
            client.close()

    def stderr(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> int:
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        status = self.process.wait(TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def column(name: str, data: list[Any], datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def output(answer: Any, name: str) -> Any:
    return next(tensor for tensor in answer["outputs"] if tensor["name"] == name)
