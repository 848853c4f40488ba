"""Backends over HTTP keep the port's promises, on TCP and on a Unix socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from redpoll.backends.pool import HttpBackend
from redpoll.testing import backends
from redpoll.testing.fake_oip import FakeOip


def backend(server: FakeOip, connections: int) -> HttpBackend:
    return HttpBackend((server.url,), "m", connections=connections, idle_s=4.0, resend=False)


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("check", backends.CHECKS, ids=lambda check: check.__name__)
def test_a_url_conforms(check: backends.Check, loop) -> None:
    """Many connections to one server."""
    with FakeOip() as server:
        loop(check(lambda: backend(server, 16), server))


@pytest.mark.parametrize("check", backends.CHECKS, ids=lambda check: check.__name__)
def test_a_workers_socket_conforms(check: backends.Check, tmp_path: Path) -> None:
    """One call at a time on a Unix socket."""
    with FakeOip(socket=str(tmp_path / "w.sock")) as server:
        uvloop.run(check(lambda: backend(server, 1), server))
