"""What all connections hold of requests that have not come whole: bounded, and always let go."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from redpoll.catalog import Limits
from tests.web_data.rig import BODY, INFER, Plane, infer, replies, request, run

KB = 1024
LARGE = infer(*(float(n) for n in range(4000)))  # some 30 KB
LIMITS = Limits(body_bytes=64 * KB, reading_bytes=64 * KB)


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_past_the_bound_a_body_is_refused_and_the_others_arrive(tmp_path: Path) -> None:
    """503 with Retry-After, counted; who was there is served; then there is room again."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=LIMITS)
        held = plane.clients.held
        raw = request("POST", INFER, LARGE)
        first = [plane.connect() for _ in range(2)]
        for connection, _ in first:
            plane.hear(connection, raw[:-10])
        assert held.total > 2 * (len(LARGE) - 10) - KB
        late, transport = plane.connect()
        plane.hear(late, raw[:-10])
        (reply,) = replies(transport.out)
        assert (reply.status, reply.said["code"]) == (503, "RP-108")
        assert reply.headers["retry-after"] == "1"
        assert "server.limits.reading_bytes" in reply.said["error"]
        assert transport.ended
        assert plane.rig.count("redpoll_refused_total", "_", "overload") == 1
        plane.hear(late, raw)  # what comes after the refusal is not kept
        assert held.total < 2 * len(raw)
        for connection, _ in first:
            plane.hear(connection, raw[-10:])
        await plane.settle()
        assert [replies(t.out)[0].status for _, t in first] == [200, 200]
        assert held.total == 0
        (reply,), _ = await plane.say(raw[:-10], raw[-10:])
        assert reply.status == 200

    run(go)


def test_a_body_that_grows_past_the_bound_is_refused_on_its_way(tmp_path: Path) -> None:
    """Chunked ones too, which do not say beforehand how long they are."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=LIMITS)
        head = request("POST", INFER, content_length="0").replace(
            b"content-length: 0", b"transfer-encoding: chunked"
        )
        whole = head + chunked(LARGE, 7)
        found = [plane.connect() for _ in range(4)]
        for at in range(0, len(whole) - 10, KB):
            for connection, transport in found:
                if not transport.ended:
                    plane.hear(connection, whole[at : min(at + KB, len(whole) - 10)])
            assert plane.clients.held.total <= LIMITS.reading_bytes
        left = [(c, t) for c, t in found if not t.ended]
        assert 1 <= len(left) < 4
        assert {r.status for _, t in found if t.ended for r in replies(t.out)} == {503}
        for connection, transport in left:
            plane.hear(connection, whole[-10:])
            await plane.settle()
            assert replies(transport.out)[0].status == 200
        assert plane.clients.held.total == 0

    run(go)


def test_what_came_in_one_piece_is_served_whatever_the_others_hold(tmp_path: Path) -> None:
    """A small request does not wait for memory that it does not need."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=LIMITS)
        holding = [plane.connect()[0] for _ in range(2)]
        for connection in holding:
            plane.hear(connection, request("POST", INFER, LARGE)[:-1])
        for _ in range(2):  # a new head, and one that is remembered
            (reply,), transport = await plane.say(request("POST", INFER, BODY))
            assert (reply.status, transport.ended) == (200, False)
        held = plane.clients.held.total
        assert held > 2 * len(LARGE) - 100
        for connection in holding:
            connection.connection_lost(None)
        assert plane.clients.held.total == 0

    run(go)


def test_whatever_becomes_of_a_connection_it_lets_go_of_what_it_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost, ended, timed out, malformed, too large, refused by its head, pipelined, not read from."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=LIMITS)
        held = plane.clients.held
        clock = [1000.0]
        monkeypatch.setattr(plane.clients.loop, "time", lambda: clock[0])
        plane.clients.sweep()
        raw = request("POST", INFER, LARGE)
        chunks = request("POST", INFER, content_length="0").replace(
            b"content-length: 0", b"transfer-encoding: chunked"
        )
        lost, _ = plane.connect()
        plane.hear(lost, raw[:9000])
        assert held.total > 8000
        lost.connection_lost(ConnectionResetError())
        assert held.total == 0
        ended, _ = plane.connect()
        plane.hear(ended, raw[:9000])
        ended.eof_received()
        ended.connection_lost(None)
        assert held.total == 0
        for pieces in (
            (chunks + b"fff\r\n" + b"x" * 3000, b"x" * 1095 + b"--"),  # longer than it says
            (chunks + chunked(b"x" * 70_000, 9000),),  # too large
            (b"POST /v2/models/m/infer HTTP/1.1\r\nHost", b" : h\r\n\r\n"),
            (b"GET / HTTP/1.1\r\nhost: h\r\n" + b"a: b\r\n" * 6000,),
            (raw[:9000].replace(b"host", b"content-encoding: gzip\r\nhost"), raw[9000:]),
        ):
            (reply,), transport = await plane.say(*pieces)
            assert reply.status >= 400
            assert held.total == 0, pieces[0][:80]
        for slow in (raw[:9000], raw[:20], chunks + chunked(LARGE, 900)[:5000]):
            connection, transport = plane.connect()
            plane.hear(connection, slow)
            assert held.total > 0
            clock[0] += 31.0
            plane.clients.sweep()
            assert replies(transport.out)[0].status == 408
            assert held.total == 0
        plane.hold = True
        connection, _ = plane.connect()
        plane.hear(connection, raw + raw + raw[:700])  # one is worked on, the others wait
        assert held.total > len(raw)
        connection.connection_lost(None)
        assert held.total == 0
        connection, _ = plane.connect()
        connection.pause_writing()
        plane.hear(connection, raw[:9000])
        assert held.total == 9000
        connection.connection_lost(None)
        assert held.total == 0

    run(go)


def test_storms_of_pieces_never_leak(tmp_path: Path) -> None:
    """Many clients, random pieces, random ends: in the end nothing is held, nor ever too much."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=LIMITS)
        held = plane.clients.held
        dice = random.Random(7)
        open_: list = []
        for _ in range(4000):
            if len(open_) < 12 or dice.random() < 0.1:
                body = infer(*([1.5] * dice.choice([1, 100, 3000])))
                head = request("POST", INFER, body)
                if dice.random() < 0.4:
                    head = head[: -len(body)].replace(
                        b"content-length: %d" % len(body), b"transfer-encoding: chunked"
                    ) + chunked(body, dice.choice([50, 5000]))
                open_.append([*plane.connect(), head * dice.choice([1, 3])])
            at = dice.randrange(len(open_))
            connection, transport, rest = open_[at]
            size = dice.choice([10, 700, 9000])
            plane.hear(connection, rest[:size])
            open_[at][2] = rest = rest[size:]
            assert held.total <= LIMITS.reading_bytes + 9000
            if dice.random() < 0.03 or transport.closed or transport.ended or not rest:
                connection.connection_lost(None)
                del open_[at]
            if dice.random() < 0.2:
                await plane.settle()
        for connection, _, _ in open_:
            connection.connection_lost(None)
        await plane.settle()
        assert held.total == 0
        assert plane.rig.count("redpoll_refused_total", "_", "overload") > 0
        plane.whole()

    run(go)


def test_tiny_chunks_take_no_more_memory_than_their_bytes(tmp_path: Path) -> None:
    """What is counted is what is there: no object for each of a body's chunks."""
    import tracemalloc

    async def go() -> None:
        plane = Plane(tmp_path, limits=Limits(body_bytes=4 * KB * KB))
        connection, _ = plane.connect()
        head = request("POST", INFER, content_length="0").replace(
            b"content-length: 0", b"transfer-encoding: chunked"
        )
        plane.hear(connection, head)
        piece = b"2\r\nxy\r\n" * 20_000
        tracemalloc.start()
        for _ in range(10):
            plane.hear(connection, piece)
        took, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert plane.clients.held.total == 400_000
        assert took < 2 * 400_000
        connection.connection_lost(None)

    run(go)


def test_a_refusal_says_so_in_json(tmp_path: Path) -> None:
    """Also to a client that waits to be told to go on (Expect: 100-continue): before it sends."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=LIMITS)
        plane.clients.held.total = LIMITS.reading_bytes  # somebody else's
        raw = request("POST", INFER, LARGE, expect="100-continue")[: -len(LARGE)]
        (reply,), transport = await plane.say(raw)
        assert (reply.status, json.loads(reply.body)["code"]) == (503, "RP-108")
        assert b"100 Continue" not in transport.out

    run(go)
