"""The data plane in one process, several connections at once, and what must hold whatever they send."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redpoll.catalog import Limits
from redpoll.gateway.call import Call
from redpoll.host.tokens import Tokens, digest
from redpoll.web.http import WORKING, Connection
from tests.fuzz.corpus import TOKEN, Setup
from tests.fuzz.wounds import Case, Dice, hurt
from tests.web_data.rig import FakeTransport, Plane, replies

LIMITS = Limits(body_bytes=4000, header_bytes=3000, reading_bytes=200_000)
HANG_CPU_S = 8.0  # for a handful of small requests: far beyond what a busy machine explains
QUIET_S = 10.0  # within which a reply that a thread compresses must be there
ROUNDS_MAX = 400  # turns of the loop
ROWS_MAX = 5000
COUNTERS_MAX = 400  # series of one gateway with one model, however odd its clients
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Wrong(Exception):
    """Something that must not be."""


class Hang(BaseException):
    """The processor was busy with one handful for too long. No ``except Exception`` catches it."""


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """:class:`Hang` once this much processor time was used inside."""

    def ring(*_: object) -> None:
        raise Hang(f"busy for {seconds:g} s of processor time")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class Errors(logging.Handler):
    """What redpoll logs as its own mistakes."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        self.seen.append(f"{record.getMessage()}\n{trace}")


class Target:
    """One gateway of a setup. To be made in a running loop, for some thousand cases."""

    def __init__(self, folder: Path, setup: Setup) -> None:
        self.setup = setup
        self.errors = Errors()
        self.loop_errors: list[str] = []
        self.statuses: Counter[int] = Counter()
        path = folder / "tokens"
        scopes = ["predict", "outcomes", "metrics"]
        path.write_text(
            json.dumps({"name": "fuzz", "hash": digest(TOKEN.decode()), "scopes": scopes})
        )
        more = {"candidate": setup.candidate, "weight": 0.3, "salt": "s"} if setup.candidate else {}
        self.plane = Plane(
            folder, setup.model, limits=LIMITS, tokens=Tokens(path) if setup.tokens else None,
            kinds={"v1": setup.kind, "v2": setup.kind}, **more,
        )  # fmt: skip
        for backend in self.plane.rig.backends.values():
            backend.binary = setup.binary
        asyncio.get_running_loop().set_exception_handler(self._loop_error)

    def _loop_error(self, _: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        trace = "".join(traceback.format_exception(error)) if error else ""
        self.loop_errors.append(f"{context['message']}\n{trace}")

    async def feed(self, cases: list[Case], dice: Dice | None = None) -> list[list[int]]:
        """All at once, piece by piece; the statuses of each. ``dice``: answers of models are hurt.

        Raises :class:`Wrong` or :class:`Hang`.
        """
        logger = logging.getLogger("redpoll")
        logger.addHandler(self.errors)
        try:
            with bounded(HANG_CPU_S):
                return await self._feed(cases, dice)
        finally:
            logger.removeHandler(self.errors)
            self.errors.seen.clear()
            self.loop_errors.clear()

    async def _feed(self, cases: list[Case], dice: Dice | None) -> list[list[int]]:
        clients = [self.plane.connect() for _ in cases]
        for turn in range(max(len(case.pieces) for case in cases)):
            for case, (connection, transport) in zip(cases, clients, strict=True):
                if turn < len(case.pieces) and not transport.closed:
                    if case.stops_reading and turn == 0:
                        connection.pause_writing()
                    connection.data_received(case.pieces[turn])
            await asyncio.sleep(0)
            self._answer(dice)
        for case, (connection, transport) in zip(cases, clients, strict=True):
            if case.leaves and not transport.closed:
                connection.eof_received()
            elif case.stops_reading:
                connection.resume_writing()
        await self._quiet(cases, clients, dice)
        found = [
            self._replied(case, transport) for case, (_, transport) in zip(cases, clients, strict=True)
        ]  # fmt: skip
        for connection, _ in clients:
            connection.connection_lost(None)
        for _ in range(3):
            await asyncio.sleep(0)
            self._answer(dice)
        self._check(found, dice is not None)
        return found

    async def _quiet(
        self, cases: list[Case], clients: list[tuple[Connection, FakeTransport]], dice: Dice | None
    ) -> None:
        """Wait until no connection works any more. One that does for ever is a hang."""
        end, still, rounds = time.monotonic() + QUIET_S, 0, 0
        written = -1
        while still < 3:
            await asyncio.sleep(0)
            self._answer(dice)
            rounds += 1
            busy = [
                case for case, (connection, transport) in zip(cases, clients, strict=True)
                if connection.state == WORKING and not transport.closed
            ]  # fmt: skip
            before, written = written, sum(len(transport.out) for _, transport in clients)
            still = 0 if busy or before != written else still + 1
            if busy and rounds > ROUNDS_MAX:
                await asyncio.sleep(0.002)  # a thread compresses
                if time.monotonic() > end:
                    raise Wrong(f"{len(busy)} requests were never answered")

    def _answer(self, dice: Dice | None) -> None:
        """Let the backends answer; ``dice``: not as they should."""
        for backend in self.plane.rig.backends.values():
            while backend.asked:
                call: Any = backend.asked[0]
                body = answer(call)
                if dice is not None and dice.random() < 0.7:
                    body = bytes(hurt(bytearray(body), dice))
                backend.answer(body=body)

    def _replied(self, case: Case, transport: FakeTransport) -> list[int]:
        out = bytes(transport.out)
        if b"HEAD" in case.raw.upper() or case.leaves:  # no body behind its length, or cut off
            return [s for s in map(int, _STATUS.findall(out)) if s >= 200]
        try:
            found = replies(out)
        except (AssertionError, KeyError, ValueError) as error:
            raise Wrong(f"a reply is not whole: {error}") from None
        for reply in found:
            if reply.status >= 400 and "content-encoding" not in reply.headers:
                _check_error(reply.body)
        return [reply.status for reply in found]

    def _check(self, found: list[list[int]], wounded: bool) -> None:
        for text in (*self.loop_errors, *self.errors.seen):
            raise Wrong(f"an exception: {text}")
        for status in (status for one in found for status in one):
            self.statuses[status] += 1
            if status >= 500 and not (wounded and status == 502):
                raise Wrong(f"status {status}")
        plane, gateway = self.plane, self.plane.gateway
        if gateway.taken or gateway.flying or gateway.waiting:
            raise Wrong(f"places are lost: {gateway.taken=} {gateway.flying=} {gateway.waiting=}")
        if plane.clients.connections or plane.clients.held.total:
            raise Wrong(f"connections are not forgotten: {plane.clients.held.total} bytes are held")
        if (count := len(gateway.counters._cells)) > COUNTERS_MAX:
            raise Wrong(f"clients have made {count} series of metrics")

    def whole(self) -> None:
        """The journal has every request once, with its one answer. Raises :class:`Wrong`."""
        try:
            self.plane.whole()
        except Exception as error:
            raise Wrong(f"the journal is not whole: {type(error).__name__}: {error}") from error


def answer(call: Call) -> bytes:
    """What a sound model answers: a number a row, and what was asked for by name."""
    rows = call.rows
    if rows > ROWS_MAX:
        raise Wrong(f"a request of at most {LIMITS.body_bytes} bytes has {rows} rows")
    names = {"y": None} | dict.fromkeys(call.wanted or ())
    outputs = [
        {"name": name, "shape": [rows], "datatype": "FP64", "data": [0.25] * rows} for name in names
    ]
    return json.dumps({"outputs": outputs}).encode()


def _check_error(body: bytes) -> None:
    try:
        said = json.loads(body)
        fine = len(said["error"]) > 9 and said["code"].startswith("RP-")
    except (ValueError, KeyError, TypeError):
        fine = False
    if not fine:
        raise Wrong(f"an error says nothing: {body[:200]!r}")
