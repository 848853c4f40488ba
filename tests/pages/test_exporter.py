"""``server.metrics``: bounded, and indifferent to whoever is slow or sends nonsense."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from redpoll import config
from redpoll.errors import RedpollError
from redpoll.host.counters import Counters
from redpoll.supervise import exporter
from redpoll.supervise.exporter import Exporter

MODEL = '[models.m.versions.v1]\nbackend = "python:m:f"\n'


async def say(port: int, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def served(folder: Path, test) -> None:
    counters = Counters("gateway", folder)
    counters.inc("redpoll_requests_total", ("m", "v1", "none", "ok"), 7)
    counters.save()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    found = Exporter(folder, listener)
    await found.start()
    try:
        await test(listener.getsockname()[1])
    finally:
        found.stop()


def test_it_answers_one_request_a_connection(tmp_path):
    """GET and HEAD of one address; all else is told."""

    async def test(port: int) -> None:
        reply = await say(port, b"GET /metrics?x=1 HTTP/1.1\r\nhost: a\r\n\r\n")
        head, _, body = reply.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and b"Connection: close" in head
        assert b'status="ok"} 7' in body
        head = await say(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n")
        assert (await say(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert (await say(port, b"PUT /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405")
        assert (await say(port, b"\x16\x03\x01\r\n\r\n")).startswith(b"HTTP/1.1 404")

    asyncio.run(served(tmp_path, test))


def test_who_is_slow_or_endless_is_let_go(tmp_path, monkeypatch):
    """Neither holds the others up."""
    monkeypatch.setattr(exporter, "WAIT_S", 1.0)

    async def test(port: int) -> None:
        slow = [asyncio.create_task(say(port, b"GET /met")) for _ in range(exporter.AT_ONCE)]
        await asyncio.sleep(0.3)
        assert await say(port, b"GET /metrics HTTP/1.1\r\n\r\n") == b"", "past the bound: closed"
        assert await asyncio.gather(*slow) == [b""] * exporter.AT_ONCE
        assert await say(port, b"GET /metrics HTTP/1.1\r\nx: " + b"y" * 20_000) == b""
        assert b"200 OK" in await say(port, b"GET /metrics HTTP/1.1\r\n\r\n")

    asyncio.run(served(tmp_path, test))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("0.0.0.0:9464", "can be reached from other machines"),
        ("127.0.0.1:8080", "is also the address of data or control"),
        ("9464", "is no address"),
    ],
)
def test_an_address_that_cannot_be_is_an_error_of_the_file(tmp_path, address, said):
    """With its line, as any other."""
    file = tmp_path / "redpoll.toml"
    file.write_text(f'[server]\nmetrics = "{address}"\n{MODEL}')
    with pytest.raises(RedpollError) as error:
        config.load(file)
    assert said in str([*getattr(error.value, "problems", ()), error.value])
