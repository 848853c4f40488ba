"""A real ``redpoll serve`` in another process: what it inherits, and when it answers."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from redpoll.client import Client, ClientError

START_S = 60.0


def environment() -> dict[str, str]:
    """Ours, without what would lead a command to another server."""
    return {k: v for k, v in os.environ.items() if not k.startswith("REDPOLL_")}


def wait_ready(folder: Path) -> str:
    """The data plane's address, once model ``echo`` predicts from an input ``x``."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            said = json.loads((folder / "data/run/server.json").read_text())
            url = f"http://{said['data']}"
            with Client(url, timeout_s=2.0) as client:
                client.predict("echo", {"x": 1}, unit="u-0")
            return url
        except (OSError, ValueError, ClientError):
            time.sleep(0.1)
    raise AssertionError((folder / "serve.log").read_text()[-2000:])
