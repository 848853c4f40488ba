"""Tokens against a real server that can be reached from elsewhere."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redpoll.client import Client, ClientError
from tests.cli.conftest import Run
from tests.first_use.serving import environment, serving, shell

CONFIG = """
[server]
data = "0.0.0.0:0"
control = "127.0.0.1:0"
{tokens}
[models.echo]
inputs = {{x = "int"}}
output = {{name = "y", type = "float"}}
[models.echo.versions]
v1 = "python:echo:load"
[models.echo.outcomes.seen]
window = "1h"
"""
MODEL = 'def load():\n    return lambda columns: {"y": columns["x"] * 1.0}\n'
WITHIN_S = 10.0


def told(ask: Callable[[], Any], code: str) -> ClientError | None:
    """What the server says in the end: the error of that code, or None where it is to answer."""
    end = time.monotonic() + WITHIN_S
    while True:
        error = None
        try:
            ask()
        except ClientError as raised:
            error = raised
        if (error.code if error else "") == code:
            return error
        assert time.monotonic() < end, error
        time.sleep(0.05)


def make(redpoll: Run, *words: str) -> str:
    done = redpoll("token", "create", *words)
    assert done.code == 0, done.err
    return done.out.strip()


def test_a_server_beyond_loopback_wants_tokens_and_keeps_none(redpoll: Run, tmp_path: Path) -> None:
    """Refused without; made, used, bounded and revoked while it runs; nowhere on disk or in words."""
    (tmp_path / "echo.py").write_text(MODEL)
    config = tmp_path / "redpoll.toml"
    config.write_text(CONFIG.format(tokens=""))
    command = [sys.executable, "-m", "redpoll", "serve"]
    refused = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 1
    assert "can be reached from other machines" in refused.stderr
    config.write_text(CONFIG.format(tokens='tokens_file = "tokens"'))
    missing = redpoll("apply", "--dry-run")
    assert "token create" in missing.err, "a file that is not there yet: said how it is made"
    admin = make(redpoll, "--scope", "operate", "--name", "anna")
    with serving(tmp_path) as where:
        url = "http://" + where["data"].replace("0.0.0.0", "127.0.0.1")
        told(lambda: Client(url).predict("echo", {"x": 1}), "RP-500")
        told(lambda: Client(url, token=admin).predict("echo", {"x": 1}), "RP-501")
        token = make(redpoll, "--scope", "predict", "--name", "shop")
        slow = make(redpoll, "--scope", "predict", "--name", "slow", "--per-second", "1")
        shop, slowly = Client(url, token=token), Client(url, token=slow)
        told(lambda: shop.predict("echo", {"x": 1}), "")
        told(lambda: shop.predict("echo", {"x": "two"}), "RP-107")
        told(lambda: shop.outcome("seen", request_id="r", model="echo"), "RP-501")
        told(lambda: slowly.predict("echo", {"x": 1}), "")
        bounded = told(lambda: slowly.predict("echo", {"x": 1}), "RP-140")
        assert bounded is not None and bounded.status == 429
        assert bounded.retry_after_s == 1
        status = shell("redpoll status --json", tmp_path, REDPOLL_TOKEN=admin)
        assert status.returncode == 0, status.stderr
        assert redpoll("status").code == 1
        assert redpoll("token", "revoke", "shop").code == 0
        told(lambda: shop.predict("echo", {"x": 1}), "RP-500")
        told(lambda: slowly.predict("echo", {"x": 1}), "")
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"slow" in everything
    for secret in (admin, token, slow):
        assert secret.removeprefix("redpoll_").encode() not in everything
