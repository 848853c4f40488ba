"""A whole ``redpoll serve``, to be killed in every part."""

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
from typing import Any

from redpoll.host.paths import DataDir
from redpoll.host.process import alive

READY_S = 30.0


def free_port() -> int:
    """A port that nobody has now. The server must come back on the same one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """``redpoll serve`` on a configuration."""

    def __init__(self, config: Path, control_port: int) -> None:
        self.config = config
        self.data = DataDir(config.parent / "data")
        self.log = config.parent / "serve.log"
        self.starts_s: list[float] = []  # from the start to "ready"
        self._control_port = control_port
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            log.write(b"---- start\n")
            return subprocess.Popen(
                [sys.executable, "-m", "redpoll", "serve", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Return once it says so."""
        begun = time.monotonic()
        while "redpoll is up" not in self._last_log():
            assert self.process.poll() is None, self._last_log()[-3000:]
            assert time.monotonic() - begun < READY_S, self._last_log()[-3000:]
            time.sleep(0.02)
        self.starts_s.append(time.monotonic() - begun)

    def kill(self) -> None:
        """Kill -9 the supervisor, and start the next one at once."""
        self.process.kill()
        self.process.wait()
        self.process = self._start()

    def end(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def pid_of(self, name: str) -> int | None:
        """The pid of ``gateway``, ``control``, ``sealer``, or of a version's worker."""
        try:
            if name in ("gateway", "control", "sealer"):
                pid = json.loads(self.data.server.read_bytes())["pids"][name]
            else:
                workers = json.loads(self.data.workers.read_bytes())
                pid = next(one["pid"] for one in workers.values() if one["version"] == name)
        except (OSError, ValueError, KeyError, StopIteration):
            return None
        mine = pid and alive(pid) and os.getpgid(pid) == pid  # each is a leader of its own group
        return int(pid) if mine else None

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control plane; None where it does not answer now."""
        connection = http.client.HTTPConnection("127.0.0.1", self._control_port, timeout=5)
        try:
            content = json.dumps(body).encode() if body is not None else None
            headers = {"Content-Type": "application/json"} if content else {}
            connection.request(method, f"/api/v1{path}", content, headers)
            answer = connection.getresponse()
            return {"status": answer.status, **_object(answer.read())}
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def _last_log(self) -> str:
        return self.log.read_text(errors="replace").rpartition("---- start\n")[2]


def _object(raw: bytes) -> dict[str, Any]:
    found = json.loads(raw)
    return found if isinstance(found, dict) else {"items": found}
