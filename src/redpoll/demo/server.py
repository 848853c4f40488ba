"""A real ``redpoll serve`` on free ports, for as long as the demo lasts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from redpoll.client import ClientError
from redpoll.client.transport import Transport
from redpoll.errors import RedpollError

START_S = 60.0
STOP_S = 20.0

# The server ends with the demo, however the demo ends.
_SERVE = """\
from redpoll.host.lifeline import die_with_parent
die_with_parent()
from redpoll.cli.main import main
main()
"""


class DemoServer:
    """``redpoll serve -c <config>`` in a process of its own; its output goes to a file."""

    def __init__(self, config: Path) -> None:
        self.folder = config.parent
        self.log = self.folder / "serve.log"
        self.data_dir = self.folder / "data"
        self.data_url = self.control_url = ""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, "serve", "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C at the terminal is the demo's to handle.
                start_new_session=True,
                env={k: v for k, v in os.environ.items() if not k.startswith("REDPOLL_")},
            )

    def wait_ready(self) -> None:
        """Return once the live version answers and the API does; RP-604 if that never comes."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RedpollError("RP-604", f"redpoll serve ended at once: {self._last_words()}")
            if self._answers():
                return
            time.sleep(0.1)
        raise RedpollError(
            "RP-604", f"redpoll serve was not ready within {START_S:g} s: {self._last_words()}"
        )

    @property
    def running(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def stop(self) -> bool:
        """End it as an operator would (SIGTERM); whether it ended by itself, with status 0."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_S) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False

    def _answers(self) -> bool:
        try:
            said = json.loads((self.data_dir / "run" / "server.json").read_bytes())
            self.data_url, self.control_url = (f"http://{said[k]}" for k in ("data", "control"))
            for url, path in (
                (self.data_url, "/v2/health/ready"),
                (self.control_url, "/healthz"),
            ):
                transport = Transport(url, token=None, timeout_s=2.0)
                try:
                    transport.call("GET", path)
                finally:
                    transport.close()
        except (OSError, ValueError, KeyError, ClientError):
            return False
        return True

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-5:]) or f"it said nothing ({self.log})"
