"""HTTP/1.1 as it comes: whole, in pieces, several at once, wrong, slow, or broken off."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import pytest

from redpoll.catalog import Limits
from redpoll.gateway.call import Head
from redpoll.web import http
from tests.web_data.rig import BODY, INFER, Plane, infer, replies, request, run


def test_a_request_may_come_in_any_pieces(tmp_path: Path) -> None:
    """Byte by byte, or cut anywhere: the same reply, the same facts."""

    async def go() -> None:
        plane = Plane(tmp_path)
        raw = request("POST", INFER, BODY, redpoll_unit="u")
        (whole,), _ = await plane.say(raw)
        assert whole.status == 200
        (remembered,), _ = await plane.say(raw)
        assert remembered.status == 200
        for cut in range(1, len(raw)):
            (reply,), transport = await plane.say(raw[:cut], raw[cut:])
            assert (reply.status, transport.closed) == (200, False)
        (reply,), _ = await plane.say(*(raw[i : i + 1] for i in range(len(raw))))
        assert reply.status == 200
        plane.whole()
        assert len(plane.rig.requests()) == len(raw) + 2

    run(go)


def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    """Ten in one piece: each waits for the one before, whatever kind it is."""

    async def go() -> None:
        plane = Plane(tmp_path)
        raw = b"".join(
            request("POST", INFER, infer(float(n), id=f"r-{n}")) + request("GET", f"/nowhere/{n}")
            for n in range(10)
        )
        found, _ = await plane.say(raw, ticks=60)
        assert [r.status for r in found] == [200, 404] * 10
        assert [r.headers["x-request-id"] for r in found[::2]] == [f"r-{n}" for n in range(10)]
        assert all(f"/nowhere/{n}" in found[2 * n + 1].said["error"] for n in range(10))
        plane.whole()

    run(go)


def test_what_is_pipelined_without_end_is_not_read_without_end(tmp_path: Path) -> None:
    """Past 64 KiB behind a request that is worked on, reading stops; it goes on later."""

    async def go() -> None:
        plane = Plane(tmp_path)
        plane.hold = True
        connection, transport = plane.connect()
        raw = request("POST", INFER, BODY)
        plane.hear(connection, raw)
        sent = 1
        while transport.reading:
            plane.hear(connection, raw)
            sent += 1
            assert sent * len(raw) < 2 * http.PIPELINED_BYTES_MAX
        plane.hold = False
        await plane.settle(sent * 6)
        assert transport.reading
        assert [r.status for r in replies(transport.out)] == [200] * sent
        plane.whole()

    run(go)


MALFORMED = [
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/1.1\n\n",
    b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: h\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nA\x00: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nA: b\x00c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
    b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc",
    b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc",
    b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nredpoll-unit: a\r\nredpoll-unit: b\r\nContent-Length: 0\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nx-request-id: a\r\nX-Request-Id: b\r\nContent-Length: 0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60,
]


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_http_is_400_and_the_connection_ends(tmp_path: Path, raw: bytes) -> None:
    """Two readers that could disagree about where a request ends are how requests are smuggled."""

    async def go() -> None:
        plane = Plane(tmp_path)
        follow = request("POST", INFER, BODY)
        (reply,), transport = await plane.say(raw + follow)
        assert (reply.status, reply.said["code"]) == (400, "RP-100")
        assert reply.headers["connection"] == "close"
        assert transport.ended
        (reply,), transport = await plane.say(*(bytes([b]) for b in raw), follow)
        assert (reply.status, transport.ended) == (400, True)
        assert not plane.rig.requests()
        assert plane.rig.count("redpoll_refused_total", "_", "malformed_http") == 2

    run(go)


def test_nonsense_is_refused_before_its_end_comes(tmp_path: Path) -> None:
    """Whoever speaks TLS to a plain port hears so at once, not after ten seconds."""

    async def go() -> None:
        plane = Plane(tmp_path)
        (reply,), _ = await plane.say(b"\x16\x03\x01\x02\x00\x01")
        assert reply.status == 400
        (reply,), _ = await plane.say(b"GET / HT", b"TPX")
        assert reply.status == 400

    run(go)


@pytest.mark.parametrize("framing", ["length", "chunked", "drip"])
def test_too_large_a_body_is_413_before_it_is_held(tmp_path: Path, framing: str) -> None:
    """By its length, as its chunks come, or inflated."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=Limits(body_bytes=1000))
        head = f"POST {INFER} HTTP/1.1\r\nHost: h\r\n".encode()
        if framing == "length":
            pieces = [head + b"Content-Length: 1001\r\n\r\n"]
        elif framing == "chunked":
            pieces = [head + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n"]
        else:
            pieces = [
                head + b"Transfer-Encoding: chunked\r\n\r\n",
                *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 11,
            ]
        (reply,), transport = await plane.say(*pieces)
        assert (reply.status, reply.said["code"]) == (413, "RP-106")
        assert transport.ended
        ok = BODY.ljust(1000)
        assert (await plane.ask("POST", INFER, ok)).status == 200
        plane.whole()

    run(go)


def test_too_large_headers_are_413(tmp_path: Path) -> None:
    """Also where their end never comes."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=Limits(header_bytes=1024))
        for raw in (request("GET", "/v2", a="x" * 1100), b"GET / HTTP/1.1\r\nA: " + b"x" * 1100):
            (reply,), transport = await plane.say(raw)
            assert (reply.status, transport.ended) == (413, True)
        (reply,), _ = await plane.say(request("GET", "/v2", a="x" * 900))
        assert reply.status == 200

    run(go)


def test_compressed_bodies_are_read_within_their_bound(tmp_path: Path) -> None:
    """Gzip and deflate (with and without zlib's wrapping); a bomb is 413; others are 415."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=Limits(body_bytes=10_000))
        raw = zlib.compressobj(wbits=-15)
        coded = {
            "gzip": gzip.compress(BODY), "x-gzip": gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]),
            "deflate": zlib.compress(BODY), "DEFLATE": raw.compress(BODY) + raw.flush(),
            "identity": BODY,
        }  # fmt: skip
        for coding, body in coded.items():
            reply = await plane.ask("POST", INFER, body, content_encoding=coding)
            assert reply.status == 200, coding
        bomb = gzip.compress(b"0" * 50_000_000)[:9_000]
        assert len(gzip.compress(b"0" * 9_000_000)) < 10_000
        for body in (gzip.compress(b"0" * 9_000_000), bomb):
            (reply,), _ = await plane.say(request("POST", INFER, body, content_encoding="gzip"))
            assert reply.status == 413
        (reply,), _ = await plane.say(request("POST", INFER, BODY, content_encoding="br"))
        assert (reply.status, reply.said["code"]) == (415, "RP-111")
        for body in (b"no gzip", gzip.compress(BODY)[:-4], b""):
            (reply,), _ = await plane.say(request("POST", INFER, body, content_encoding="gzip"))
            assert reply.status == 400
        assert {json.dumps(json.loads(r.inputs)) for r in plane.rig.requests()} == {'{"x": [1.0]}'}
        plane.whole()

    run(go)


def test_chunked_bodies_are_read(tmp_path: Path) -> None:
    """And what follows them is the next request."""

    async def go() -> None:
        plane = Plane(tmp_path)
        head = f"POST {INFER} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n".encode()
        raw = head + b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])
        found, _ = await plane.say(raw + request("GET", "/v2") + raw, ticks=20)
        assert [r.status for r in found] == [200, 200, 200]
        plane.whole()

    run(go)


def test_empty_lines_before_a_request_are_passed_over(tmp_path: Path) -> None:
    """Some old clients send one behind a body; RFC 9112 asks for it."""

    async def go() -> None:
        plane = Plane(tmp_path)
        raw = request("POST", INFER, BODY)
        found, _ = await plane.say(b"\r\n\r\n" + raw + b"\r\n" + raw, ticks=20)
        assert [r.status for r in found] == [200, 200]

    run(go)


def test_old_clients_and_those_that_say_close_are_answered_and_closed(tmp_path: Path) -> None:
    """HTTP/1.0 without keep-alive, Connection: close; keep-alive in 1.0 is kept."""

    async def go() -> None:
        plane = Plane(tmp_path)
        (reply,), transport = await plane.say(b"GET /v2 HTTP/1.0\r\n\r\n")
        assert (reply.status, reply.headers["connection"], transport.ended) == (200, "close", True)
        (reply,), transport = await plane.say(b"GET /v2 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        assert (reply.status, transport.ended) == (200, False)
        (reply,), transport = await plane.say(request("POST", INFER, BODY, connection="foo, Close"))
        assert (reply.status, transport.ended) == (200, True)
        connection, transport = plane.connect()
        plane.hear(connection, request("GET", "/v2", connection="close"))
        plane.hear(connection, request("GET", "/v2"))
        await plane.settle()
        assert len(replies(transport.out)) == 1

    run(go)


def test_a_client_that_waits_for_100_continue_gets_it_or_the_refusal(tmp_path: Path) -> None:
    """Before it sends a body that would not be taken."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=Limits(body_bytes=1000))
        connection, transport = plane.connect()
        plane.hear(connection, request("POST", INFER, BODY, expect="100-continue")[: -len(BODY)])
        assert bytes(transport.out) == b"HTTP/1.1 100 Continue\r\n\r\n"
        plane.hear(connection, BODY)
        await plane.settle()
        assert [r.status for r in replies(transport.out)] == [200]
        head = f"POST {INFER} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n"
        (reply,), transport = await plane.say(head.encode())
        assert reply.status == 413
        assert b"100 Continue" not in transport.out
        (reply,), transport = await plane.say(request("POST", INFER, BODY, expect="100-continue"))
        assert reply.status == 200
        assert b"100 Continue" not in transport.out

    run(go)


def test_an_offer_to_speak_another_protocol_is_passed_over(tmp_path: Path) -> None:
    """Java's client offers h2c with every first request; its body must not be lost."""

    async def go() -> None:
        plane = Plane(tmp_path)
        raw = request(
            "POST",
            INFER,
            BODY,
            connection="Upgrade, HTTP2-Settings",
            upgrade="h2c",
            http2_settings="A",
        )
        found, _ = await plane.say(raw + raw, ticks=20)
        assert [r.status for r in found] == [200, 200]
        (reply,), _ = await plane.say(b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert reply.status == 404
        plane.whole()

    run(go)


def test_head_gets_the_headers_alone(tmp_path: Path) -> None:
    """With the length that GET would have."""

    async def go() -> None:
        plane = Plane(tmp_path)
        connection, transport = plane.connect()
        plane.hear(connection, request("HEAD", "/v2"))
        head, _, rest = bytes(transport.out).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"content-length: " in head
        assert rest == b""

    run(go)


def test_a_head_that_came_with_another_length_is_known_and_its_length_is_its_own(
    tmp_path: Path,
) -> None:
    """It is read once for all lengths; each body ends where its own head says, and no bound moves."""

    async def go() -> None:
        plane = Plane(tmp_path, limits=Limits(body_bytes=300))
        reads: list[Head] = []
        read = plane.plane.read_head

        def read_head(head: Head) -> None:
            reads.append(head)
            read(head)

        plane.plane.read_head = read_head  # type: ignore[method-assign]
        bodies = [infer(*[0.5] * n) for n in (1, 9, 3, 1, 30)]
        raw = b"".join(request("POST", INFER, body, redpoll_unit="ann") for body in bodies)
        found, transport = await plane.say(raw, ticks=30)
        assert [r.status for r in found] == [200] * 5
        assert len(reads) == 1
        assert [entry.raw for entry in plane.rig.journal.read(kinds=("request",))] == bodies
        for own in ("r-1", "r-2", "r 3", "", "r-4"):
            (reply,), _ = await plane.say(
                request("POST", INFER, bodies[0], redpoll_unit="ann", x_request_id=own)
            )
            given = reply.headers["redpoll-prediction-id"]
            assert reply.headers["x-request-id"] == (own or given)
        assert len(reads) == 4  # an id that is odd, or empty, makes a head of its own
        for _ in range(2):
            body = infer(*[0.5] * 60)
            (reply,), transport = await plane.say(request("POST", INFER, body, redpoll_unit="ann"))
            assert (reply.status, transport.ended) == (413, True)
        twice = request("POST", INFER, bodies[0]).replace(
            b"\r\n\r\n", b"\r\ncontent-length: 76\r\n\r\n", 1
        )
        (reply,), _ = await plane.say(twice)
        assert reply.status == 400

    run(go)
