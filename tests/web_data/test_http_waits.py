"""Clients that are too many, slow, silent, or gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from redpoll.catalog import Limits
from tests.web_data.rig import BODY, INFER, Plane, replies, request, run


def test_past_the_bound_of_connections_a_client_is_told_and_closed(tmp_path: Path) -> None:
    """503 with Retry-After; a place that becomes free is taken."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=Limits(connections=2))
        first, first_transport = plane.connect()
        plane.connect()
        third, transport = plane.connect()
        (reply,) = replies(transport.out)
        assert (reply.status, reply.said["code"], transport.ended) == (503, "RP-108", True)
        assert reply.headers["retry-after"]
        third.connection_lost(None)
        first.connection_lost(None)
        _, transport = plane.connect()
        assert not transport.ended
        assert not first_transport.out

    run(go)


def test_waits_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers and bodies that dribble are 408; idle ones are closed; each in its own time."""

    async def go() -> None:
        limits = Limits(idle_s=75, header_wait_s=10, body_wait_s=30)
        plane = Plane(tmp_path, limits=limits)
        clock = [1000.0]
        monkeypatch.setattr(plane.clients.loop, "time", lambda: clock[0])

        def at(seconds: float) -> None:
            clock[0] = 1000.0 + seconds
            plane.clients.sweep()

        at(0)
        silent, silent_t = plane.connect()
        slow_head, slow_head_t = plane.connect()
        slow_body, slow_body_t = plane.connect()
        kept, kept_t = plane.connect()
        working, working_t = plane.connect()
        raw = request("POST", INFER, BODY)
        plane.hear(slow_head, raw[:20])
        plane.hear(slow_body, raw[:-5])
        plane.hear(kept, raw)
        await plane.settle()
        plane.hold = True
        plane.hear(working, raw)
        at(9)
        plane.hear(slow_head, raw[20:30])
        at(11)
        assert [r.status for r in replies(slow_head_t.out)] == [408]
        assert slow_head_t.ended
        assert silent_t.closed
        assert not slow_body_t.ended
        at(14)
        assert slow_head_t.closed  # it lingered, and never hung up
        at(31)
        assert [r.status for r in replies(slow_body_t.out)] == [408]
        at(74)
        assert not kept_t.closed
        at(76)
        assert kept_t.closed
        assert not working_t.closed
        assert len(silent_t.out) == 0
        plane.hold = False
        await plane.settle()
        assert [r.status for r in replies(working_t.out)] == [200]

    run(go)


def test_a_client_that_does_not_read_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile none of its further requests is looked at."""

    async def go() -> None:
        plane = Plane(tmp_path)
        clock = [1000.0]
        monkeypatch.setattr(plane.clients.loop, "time", lambda: clock[0])
        connection, transport = plane.connect()
        connection.pause_writing()
        plane.hear(connection, request("GET", "/v2"))
        await plane.settle()
        assert not transport.out
        connection.resume_writing()
        await plane.settle()
        assert [r.status for r in replies(transport.out)] == [200]
        plane.clients.sweep()
        connection.pause_writing()
        clock[0] += 31
        plane.clients.sweep()
        assert transport.aborted

    run(go)


@pytest.mark.parametrize("how", ["eof", "lost"])
def test_a_client_that_leaves_is_abandoned_at_once(tmp_path: Path, how: str) -> None:
    """Its place is free, the backend's call given up, the facts whole."""

    async def go() -> None:
        plane = Plane(tmp_path)
        plane.hold = True
        connection, transport = plane.connect()
        plane.hear(connection, request("POST", INFER, BODY))
        await plane.settle()
        assert plane.gateway.flying == 1
        if how == "eof":
            assert connection.eof_received() is False
        else:
            connection.connection_lost(ConnectionResetError())
        assert plane.gateway.flying == 0
        await plane.settle()
        assert [a.status for a in plane.rig.answers()] == ["abandoned"]
        assert not transport.out
        connection.connection_lost(None)
        await plane.settle()
        plane.whole()

    run(go)


def test_half_a_request_leaves_nothing(tmp_path: Path) -> None:
    """A body that is broken off was never a request."""

    async def go() -> None:
        plane = Plane(tmp_path)
        raw = request("POST", INFER, BODY)
        for cut in (1, 30, len(raw) - len(BODY), len(raw) - 1):
            connection, transport = plane.connect()
            plane.hear(connection, raw[:cut])
            connection.eof_received()
            connection.connection_lost(None)
            await plane.settle()
            assert not transport.out
        assert not plane.rig.requests()
        assert not plane.clients.connections

    run(go)


def test_draining_closes_what_idles_and_what_was_answered(tmp_path: Path) -> None:
    """Idle connections at once, others with their reply; readiness says 503."""

    async def go() -> None:
        plane = Plane(tmp_path)
        _, idle = plane.connect()
        plane.hold = True
        busy, busy_t = plane.connect()
        plane.hear(busy, request("POST", INFER, BODY))
        await plane.settle()
        plane.plane.closing = plane.gateway.draining = True
        plane.clients.close_idle()
        assert idle.closed
        assert not busy_t.closed
        plane.hold = False
        await plane.settle()
        (reply,) = replies(busy_t.out)
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        for path in ("/v2/health/ready", "/readyz", "/v2/models/m/ready"):
            assert (await plane.ask("GET", path)).status == 503
        assert (await plane.ask("GET", "/v2/health/live")).status == 200
        late = await plane.ask("POST", INFER, BODY)
        assert (late.status, late.said["code"]) == (503, "RP-110")
        assert late.headers["retry-after"]
        await asyncio.sleep(0)
        plane.whole()

    run(go)
