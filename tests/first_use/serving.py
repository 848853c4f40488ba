"""A real ``redpoll serve`` in a folder, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redpoll.client import ClientError
from redpoll.client.transport import Transport
from redpoll.host.lifeline import die_with_parent

START_S = 60.0
BIN = Path(sys.executable).parent


def environment(**more: str) -> dict[str, str]:
    """Ours, with the command on the path and nothing of redpoll's own variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REDPOLL_")}
    return {**kept, "PATH": f"{BIN}{os.pathsep}{kept['PATH']}", **more}


def shell(line: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """One command line, as it was printed, in a folder."""
    return subprocess.run(
        line, shell=True, cwd=folder, env=environment(**more), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def said(folder: Path) -> dict[str, Any]:
    """``run/server.json`` of the server that runs there."""
    return json.loads((folder / "redpoll-data" / "run" / "server.json").read_bytes())


@contextlib.contextmanager
def serving(folder: Path, *, wait: str = "/v2/health/ready") -> Iterator[dict[str, Any]]:
    """``redpoll serve`` in ``folder`` until the block ends; its log is ``serve.log``."""
    with (folder / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "redpoll", "serve"],
            cwd=folder, env=environment(), stdout=log, stderr=log, preexec_fn=die_with_parent,
        )  # fmt: skip
    try:
        yield _ready(process, folder, wait)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(process: subprocess.Popen[bytes], folder: Path, path: str) -> dict[str, Any]:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, ValueError, KeyError, ClientError):
            where = said(folder)
            transport = Transport(f"http://{where['data']}", token=None, timeout_s=2.0)
            try:
                transport.call("GET", path)
                return where
            finally:
                transport.close()
        time.sleep(0.05)
    raise AssertionError((folder / "serve.log").read_text()[-3000:])
