"""The conformance suite of backends: what every adapter of ``redpoll.backends.port`` must do.

Use it in a test of your adapter::

    @pytest.mark.parametrize("check", backends.CHECKS, ids=lambda check: check.__name__)
    def test_my_backend_conforms(check):
        with FakeOip() as server:
            asyncio.run(check(lambda: MyBackend(server.url), server))

``make`` gives a new backend of the server that was given with it, with room for at least one ask.
:class:`FakeBackend` is the port's twin in memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from redpoll.backends.port import Ask, Backend, Failure
from redpoll.testing.fake_oip import Answer, FakeOip, echo

Make = Callable[[], Backend]
WAIT_S = 10.0


def infer(*values: float, **more: Any) -> bytes:
    """An inference request of one FP64 column ``x``."""
    tensor = {"name": "x", "shape": [len(values)], "datatype": "FP64", "data": list(values)}
    return json.dumps({"inputs": [tensor], **more}).encode()


class Waited(Ask):
    """An ask whose end can be awaited, and that knows how often it was told."""

    def __init__(self, payload: bytes, lines: bytes = b"") -> None:
        super().__init__(payload, lines)
        self.end = asyncio.Event()
        self.told = 0
        self.status = 0
        self.lines_back = b""
        self.body = b""
        self.failure: Failure | None = None

    def answered(self, status: int, lines: bytes, body: bytes) -> None:
        """Take the answer."""
        self.told += 1
        self.status, self.lines_back, self.body = status, lines, body
        self.end.set()

    def failed(self, failure: Failure) -> None:
        """Take the failure."""
        self.told += 1
        self.failure = failure
        self.end.set()


async def ask(backend: Backend, payload: bytes | None = None, lines: bytes = b"") -> Waited:
    """Ask and wait for the end."""
    waited = Waited(infer(1.0) if payload is None else payload, lines)
    assert backend.free(), "a backend that nobody asks must have room"
    backend.ask(waited)
    await asyncio.wait_for(waited.end.wait(), WAIT_S)
    await asyncio.sleep(0.01)
    assert waited.told == 1, f"an ask must end exactly once, not {waited.told} times"
    return waited


async def answers_come_back_as_they_are(make: Make, server: FakeOip) -> None:
    """Status, body and content type; the payload and the lines reach the other side."""
    backend = make()
    payload = infer(1.0, 2.5, id="r-1")
    done = await ask(backend, payload, b"x-request-id: r-1\r\nredpoll-prediction-id: p\r\n")
    assert done.failure is None
    assert (done.status, done.body) == (200, echo(server.requests[-1]).body)
    assert b"application/json" in done.lines_back
    came = server.requests[-1]
    assert came.body == payload
    assert (came.headers["x-request-id"], came.headers["redpoll-prediction-id"]) == ("r-1", "p")
    backend.close()


async def errors_of_the_other_side_are_answers(make: Make, server: FakeOip) -> None:
    """A 4xx or 5xx is passed on with its body: it is the gateway that judges it."""
    backend = make()
    for status in (400, 404, 422, 429, 500, 503):
        body = b'{"detail":"\xc3\xa4"}'
        server.decide = lambda _, s=status, b=body: Answer(s, b, {"retry-after": "7"})  # type: ignore[misc]
        done = await ask(backend)
        assert (done.status, done.body, done.failure) == (status, body, None)
        assert b"retry-after: 7" in done.lines_back.lower()
    backend.close()


async def every_framing_is_read(make: Make, server: FakeOip) -> None:
    """By length, in chunks, up to the end of the connection; empty and large bodies."""
    backend = make()
    for framing in ("length", "chunked", "eof"):
        for body in (b"{}", b"x" * 300_000):
            server.decide = lambda _, b=body, f=framing: Answer(200, b, framing=f)  # type: ignore[misc]
            done = await ask(backend)
            assert (done.status, len(done.body), done.failure) == (200, len(body), None), framing
    backend.close()


async def nonsense_is_a_failure_that_says_so(make: Make, server: FakeOip) -> None:
    """RP-201: what came is no HTTP answer, or one that nobody asked for."""
    backend = make()
    nonsense = (
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    )
    for raw in nonsense:
        server.decide = lambda _, r=raw: Answer(raw=r)  # type: ignore[misc]
        done = await ask(backend)
        assert done.failure is not None, raw
        assert done.failure.code == "RP-201", raw
    server.decide = echo
    assert (await ask(backend)).status == 200
    backend.close()


async def a_connection_that_breaks_is_a_failure(make: Make, server: FakeOip) -> None:
    """RP-200, whether it broke before any byte or in the middle; the next ask is as good as ever."""
    backend = make()
    for hang_up in ("before", "middle"):
        server.decide = lambda _, h=hang_up: Answer(hang_up=h)  # type: ignore[misc]
        done = await ask(backend)
        assert done.failure is not None
        assert done.failure.code == "RP-200"
        server.decide = echo
        assert (await ask(backend)).status == 200
    backend.close()


async def a_cancelled_ask_hears_nothing(make: Make, server: FakeOip) -> None:
    """Nor does its late answer reach anybody else; its place is free at once."""
    backend = make()
    server.decide = lambda request: Answer(body=request.body, delay_s=0.1)
    late = Waited(infer(1.0))
    backend.ask(late)
    await asyncio.sleep(0.03)
    backend.cancel(late)
    server.decide = echo
    done = await ask(backend, infer(2.0))
    assert json.loads(done.body)["outputs"][0]["data"] == [2.0]
    await asyncio.sleep(0.15)
    assert late.told == 0
    at_once = Waited(infer(1.0))
    assert backend.free()
    backend.ask(at_once)
    backend.cancel(at_once)  # before it can have been sent
    await asyncio.sleep(0.05)
    assert at_once.told == 0
    assert (await ask(backend)).status == 200
    backend.close()


async def asks_at_once_get_their_own_answers(make: Make, server: FakeOip) -> None:
    """As many as there is room for; the bound of room is real."""
    backend = make()
    asks: list[Waited] = []
    server.decide = lambda request: Answer(body=echo(request).body, delay_s=0.05)
    while backend.free() and len(asks) < 20:
        asks.append(Waited(infer(float(len(asks)))))
        backend.ask(asks[-1])
    for at, one in enumerate(asks):
        await asyncio.wait_for(one.end.wait(), WAIT_S)
        assert json.loads(one.body)["outputs"][0]["data"] == [float(at)]
        assert one.told == 1
    assert backend.free()
    backend.close()


async def readiness_follows_the_other_side(make: Make, server: FakeOip) -> None:
    """Not ready before it was seen to be; metadata once it is."""
    backend = make()
    assert not backend.ready
    server.ready = False
    assert await backend.probe() is False
    server.ready = True
    assert await backend.probe() is True
    assert backend.ready
    assert json.loads(backend.metadata() or b"{}").get("name") == "m"
    backend.close()


async def closing_ends_what_is_under_way(make: Make, server: FakeOip) -> None:
    """Asks that run fail; nothing is left open."""
    backend = make()
    server.decide = lambda _: Answer(delay_s=5.0)
    waited = Waited(infer(1.0))
    backend.ask(waited)
    await asyncio.sleep(0.05)
    backend.close()
    await asyncio.wait_for(waited.end.wait(), WAIT_S)
    assert waited.failure is not None
    assert waited.told == 1


async def sweeping_harms_nothing(make: Make, server: FakeOip) -> None:
    """An ask under way is not idle."""
    backend = make()
    server.decide = lambda request: Answer(body=echo(request).body, delay_s=0.05)
    waited = Waited(infer(1.0))
    backend.ask(waited)
    await asyncio.sleep(0.02)
    backend.sweep()
    await asyncio.wait_for(waited.end.wait(), WAIT_S)
    assert waited.status == 200
    backend.sweep()
    assert (await ask(backend)).status == 200
    backend.close()


Check = Callable[[Make, FakeOip], Awaitable[None]]
CHECKS: tuple[Check, ...] = (
    answers_come_back_as_they_are,
    errors_of_the_other_side_are_answers,
    every_framing_is_read,
    nonsense_is_a_failure_that_says_so,
    a_connection_that_breaks_is_a_failure,
    a_cancelled_ask_hears_nothing,
    asks_at_once_get_their_own_answers,
    readiness_follows_the_other_side,
    closing_ends_what_is_under_way,
    sweeping_harms_nothing,
)


class FakeBackend:
    """The port in memory: asks wait in ``asked`` until a test answers them."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.ready = True
        self.binary = False
        self.room = room
        self.asked: list[Ask] = []
        self.cancelled: list[Ask] = []
        self.closed = False

    def free(self) -> bool:
        """Whether one more ask can be started now."""
        return len(self.asked) < self.room

    def ask(self, ask: Ask) -> None:
        """Keep it for the test."""
        ask.attempts += 1
        self.asked.append(ask)

    def ask_now(self, ask: Ask) -> bool:
        """Keep it where there is room."""
        if not self.free():
            return False
        self.ask(ask)
        return True

    def cancel(self, ask: Ask) -> None:
        """Forget it."""
        self.asked.remove(ask)
        self.cancelled.append(ask)

    def answer(self, status: int = 200, body: bytes = b'{"outputs":[]}', at: int = 0) -> None:
        """Answer the oldest ask."""
        self.asked.pop(at).answered(status, b"content-type: application/json\r\n", body)

    def fail(self, code: str = "RP-200", message: str = "It failed.", at: int = 0) -> None:
        """Fail the oldest ask."""
        self.asked.pop(at).failed(Failure(code, message))

    async def probe(self) -> bool:
        """As it was set."""
        return self.ready

    def metadata(self) -> bytes:
        """None."""
        return b""

    def sweep(self) -> None:
        """Nothing idles here."""

    def close(self) -> None:
        """Note that it was closed; asks fail."""
        self.closed = True
        while self.asked:
            self.fail()
