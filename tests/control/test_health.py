"""Readiness of workers and of remote backends."""

from __future__ import annotations

import asyncio
import json

import pytest

from redpoll.catalog import Model, Version
from redpoll.control.health import HealthBook, probe
from redpoll.host.paths import DataDir


@pytest.fixture
def book(tmp_path):
    return HealthBook(DataDir(tmp_path).make()), DataDir(tmp_path)


def tell(data: DataDir, **workers) -> None:
    data.workers.write_text(
        json.dumps({name.replace("_", "/"): one for name, one in workers.items()})
    )


def worker(index: int, state: str, **more) -> dict:
    return {"model": "churn", "version": "v1", "index": index, "state": state, **more}


def test_a_version_is_ready_when_all_its_workers_are(book):
    """One of two is not enough; what the other waits for is said."""
    health, data = book
    version = Version(name="v1", backend="python:m:f", workers=2)
    assert health.version("churn", version).state == "stopped"
    tell(data, churn_v1_0=worker(0, "ready"), churn_v1_1=worker(1, "starting"))
    health.refresh()
    half = health.version("churn", version)
    assert (half.ready, half.workers, half.state) == (False, 1, "starting")
    assert "loading" in half.detail
    tell(data, churn_v1_0=worker(0, "ready", restarts=2), churn_v1_1=worker(1, "ready"))
    health.refresh()
    whole = health.version("churn", version)
    assert (whole.ready, whole.workers, whole.restarts) == (True, 2, 2)


def test_a_crashing_worker_says_why(book):
    """Its last exit or its last line, as the supervisor tells it."""
    health, data = book
    tell(data, churn_v1_0=worker(0, "backoff", detail="ModuleNotFoundError: lightgbm"))
    health.refresh()
    found = health.version("churn", Version(name="v1", backend="python:m:f"))
    assert not found.ready and "lightgbm" in found.detail and "crashed" in found.detail


def test_a_worker_that_never_loads_is_not_just_loading(book):
    """Between its crashes it is starting again, which for the version is the same."""
    health, data = book
    tell(data, churn_v1_0=worker(0, "starting", restarts=3, last_exit="no pickle: v1.pkl"))
    health.refresh()
    found = health.version("churn", Version(name="v1", backend="python:m:f"))
    assert (found.workers, found.restarts) == (0, 3)
    assert found.detail == "its worker crashed (3 so far) and loads again: no pickle: v1.pkl"


def test_a_file_that_cannot_be_read_changes_nothing(book):
    """Half a file, or none: what was known stays."""
    health, data = book
    tell(data, churn_v1_0=worker(0, "ready"))
    health.refresh()
    for content in ("{", "[]", '{"x": 1}'):
        data.workers.write_text(content)
        health.refresh()
        health.version("churn", Version(name="v1", backend="python:m:f"))
    data.workers.unlink()
    health.refresh()


def remote(port: int) -> Version:
    return Version(name="v9", backend=f"http://127.0.0.1:{port}/v2/models/churn")


@pytest.mark.parametrize(
    ("answer", "ready", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", True, ""),
        (b"HTTP/1.1 503 Loading\r\n\r\n", False, "503"),
        (b"220 ftp ready\r\n", False, "no HTTP"),
        (b"", False, "no HTTP"),
        (b"x" * 100_000, False, ""),
    ],
)
def test_a_remote_backend_is_asked_at_its_ready_address(answer, ready, words):
    """200 is ready; everything else is not, and never an exception."""
    asked: list[bytes] = []

    async def ask():
        async def handle(reader, writer):
            asked.append(await reader.readline())
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            return await probe(remote(server.sockets[0].getsockname()[1]))

    found = asyncio.run(ask())
    assert found.ready is ready and words in found.detail
    assert asked == [b"GET /v2/models/churn/ready HTTP/1.1\r\n"]


def test_a_remote_backend_that_is_not_there_is_unreachable(book):
    """And is asked again a second later, not at every look."""
    health, _ = book
    model = Model(name="churn", versions=(remote(9),))

    async def ask():
        await health.probe([(0, model)])
        first = health.version("churn", remote(9))
        await asyncio.wait_for(health.probe([(0, model)]), 0.5)
        return first

    found = asyncio.run(ask())
    assert (found.ready, found.state) == (False, "unreachable")
    assert "could not be reached" in found.detail
