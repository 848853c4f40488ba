"""The gateway's backend in front of a real worker: the promises of the port, end to end.

The same promises as in ``redpoll.testing.backends``, kept by a process that is really asked.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from redpoll.backends.pool import HttpBackend
from redpoll.testing.backends import Waited, ask, infer
from tests.workers.rig import Worker

Start = Callable[..., Worker]
MODEL = """
    import os, time
    def load():
        def predict(columns):
            value = columns["x"][0]
            if value == 2.0:
                raise ValueError("two is too much")
            if value == 3.0:
                time.sleep(0.2)
            if value == 4.0:
                os._exit(1)
            return {"y": columns["x"] * 2}
        return predict
"""


@pytest.fixture
def backend_of() -> Callable[[Worker], HttpBackend]:
    """The backend as the gateway makes it for a worker."""

    def make(worker: Worker) -> HttpBackend:
        address = f"unix:{worker.path}"
        return HttpBackend((address,), "m", connections=1, idle_s=4.0, resend=True)

    return make


def doubled(waited: Waited) -> list[float]:
    found: list[float] = json.loads(waited.body)["outputs"][0]["data"]
    return found


def test_answers_and_failures_of_a_model_come_back_as_they_are(
    python_worker: Start, backend_of: Callable[[Worker], HttpBackend]
) -> None:
    """A model's exception is an answer with status 500, for the gateway to judge."""
    worker = python_worker(MODEL)

    async def scenario() -> None:
        backend = backend_of(worker)
        assert await backend.probe()
        assert json.loads(backend.metadata())["name"] == "m"
        lines = b"x-request-id: r-1\r\nredpoll-prediction-id: p-1\r\n"
        done = await ask(backend, infer(1.0, 5.0, id="r-1"), lines)
        assert (done.status, doubled(done)) == (200, [2.0, 10.0])
        assert json.loads(done.body)["id"] == "r-1"
        done = await ask(backend, infer(2.0), lines)
        assert (done.status, done.failure) == (500, None)
        assert json.loads(done.body)["error"] == "ValueError: two is too much"
        done = await ask(backend, b'{"inputs": []}', lines)
        assert done.status == 400
        backend.close()

    uvloop.run(scenario())
    assert "prediction p-1 failed: ValueError" in worker.stderr()


def test_one_call_at_a_time_and_a_cancelled_one_troubles_nobody(
    python_worker: Start, backend_of: Callable[[Worker], HttpBackend]
) -> None:
    """Its late answer reaches nobody; a worker that is busy still says that it is ready."""
    worker = python_worker(MODEL)

    async def scenario() -> None:
        backend = backend_of(worker)
        slow = Waited(infer(3.0))
        backend.ask(slow)
        assert not backend.free()
        await asyncio.sleep(0.05)
        assert await backend.probe()
        backend.cancel(slow)
        assert backend.free()
        assert doubled(await ask(backend, infer(7.0))) == [14.0]
        await asyncio.sleep(0.2)
        assert slow.told == 0
        backend.close()

    uvloop.run(scenario())


def test_a_worker_that_dies_in_a_call_is_a_failure_and_its_successor_answers(
    python_worker: Start, backend_of: Callable[[Worker], HttpBackend]
) -> None:
    """RP-200; what waits for a dead worker does not wait long."""
    worker = python_worker(MODEL)

    async def scenario() -> None:
        backend = backend_of(worker)
        assert (await ask(backend, infer(1.0))).status == 200
        done = await ask(backend, infer(4.0))
        assert done.failure is not None
        assert done.failure.code == "RP-200"
        await asyncio.to_thread(worker.process.wait, 10)
        done = await ask(backend, infer(1.0))
        assert done.failure is not None
        assert not await backend.probe()
        python_worker(MODEL)
        assert await backend.probe()
        assert doubled(await ask(backend, infer(1.0))) == [2.0]
        backend.close()

    uvloop.run(scenario())


def test_a_worker_is_ready_when_its_model_is_loaded(
    python_worker: Start, backend_of: Callable[[Worker], HttpBackend]
) -> None:
    """Not while it loads; and no longer once it was told to end."""
    worker = python_worker(
        """
        import pathlib, time
        def load():
            while not pathlib.Path("go").exists():
                time.sleep(0.01)
            return lambda columns: {"y": columns["x"] * 2}
        """,
        wait=False,
    )
    worker.client()  # it listens

    async def scenario() -> None:
        backend = backend_of(worker)
        assert not await backend.probe()
        await asyncio.to_thread((Path(worker.path).parent / "go").touch)
        while not await backend.probe():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert doubled(await ask(backend)) == [2.0]
        worker.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.wait, 10) == 0
        assert not await backend.probe()
        backend.close()

    uvloop.run(scenario())
