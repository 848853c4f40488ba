"""What clients may do in HTTP, over real sockets against a real gateway."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator

import pytest

from redpoll.catalog import Limits
from redpoll.testing.fake_oip import FakeOip
from tests.gateway.rig import infer
from tests.web_data.process import GatewayProcess
from tests.web_data.rig import Reply, replies

PATH = "/v2/models/m/infer"
SMALL, LARGE = infer(1.0), infer(*[float(n) for n in range(2000)])
HUGE = infer(*[n / 7 for n in range(20_000)])  # its answer is compressed by a thread
BODY_BYTES = 1 << 20


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway before a server that echoes."""
    folder = tmp_path_factory.mktemp("http")
    limits = Limits(body_bytes=BODY_BYTES)
    with FakeOip() as server, GatewayProcess(folder, {"v1": server.url}, limits=limits) as gateway:
        yield gateway


def head(body: bytes | None, *lines: str, version: str = "1.1", path: str = PATH) -> bytes:
    known = [f"POST {path} HTTP/{version}", "Host: h", *lines]
    if body is not None:
        known.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*known, "", ""]).encode()


def hear(client: socket.socket, count: int = 1) -> list[Reply]:
    """So many replies, or what came before the end."""
    out = b""
    client.settimeout(15)
    while True:
        more = client.recv(1 << 20)
        out += more
        try:
            found = replies(out)
        except (AssertionError, KeyError):
            found = []
        if len(found) >= count or not more:
            return replies(out)


def chunked(body: bytes, size: int, trailers: bytes = b"") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;x=y\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n" + trailers + b"\r\n"  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_chunked_bodies_are_read_however_they_are_cut(gateway: GatewayProcess, size: int) -> None:
    """With extensions and trailers, plain and compressed; the connection goes on."""
    client = gateway.connect()
    for body, lines in ((SMALL, ()), (gzip.compress(SMALL), ("Content-Encoding: gzip",))):
        client.sendall(
            head(None, "Transfer-Encoding: chunked", *lines)
            + chunked(body, size, b"x-trailer: 1\r\n")
        )
        (reply,) = hear(client)
        assert reply.status == 200 and reply.said["outputs"][0]["data"] == [1.0]


def test_a_client_that_expects_100_continue_is_not_kept_waiting(gateway: GatewayProcess) -> None:
    """It comes before the body, within much less than the second that curl waits for it."""
    client = gateway.connect()
    began = time.monotonic()
    client.sendall(head(SMALL, "Expect: 100-continue"))
    client.settimeout(15)
    assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert time.monotonic() - began < 0.9
    client.sendall(SMALL)
    assert hear(client)[0].status == 200
    client.sendall(head(b"x" * (BODY_BYTES + 1), "Expect: 100-continue"))
    refused = client.recv(1000)
    assert refused.startswith(b"HTTP/1.1 413 ") and b"100 Continue" not in refused


def test_old_clients_are_closed_unless_they_ask_to_be_kept(gateway: GatewayProcess) -> None:
    """HTTP/1.0: `Connection: keep-alive` is confirmed, as such clients want it."""
    client = gateway.connect()
    client.sendall(head(SMALL, version="1.0") + SMALL)
    (reply,) = hear(client, 2)
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert client.recv(10) == b""
    client = gateway.connect()
    for _ in range(3):
        client.sendall(head(SMALL, "Connection: Keep-Alive", version="1.0") + SMALL)
        (reply,) = hear(client)
        assert (reply.status, reply.headers["connection"]) == (200, "keep-alive")


def test_pipelined_requests_of_all_kinds_are_answered_in_order(gateway: GatewayProcess) -> None:
    """Chunked, compressed, with a large answer that a thread compresses, and plain."""
    client = gateway.connect()
    sent = [
        head(LARGE) + LARGE,
        head(None, "Transfer-Encoding: chunked") + chunked(infer(2.0), 9),
        head(HUGE, "Accept-Encoding: gzip") + HUGE,
        head(zlib.compress(infer(3.0)), "Content-Encoding: deflate") + zlib.compress(infer(3.0)),
        head(infer(4.0)) + infer(4.0),
    ]
    client.sendall(b"".join(sent))
    found = hear(client, 5)
    said = [json.loads(gzip.decompress(r.body) if "content-encoding" in r.headers else r.body) for r in found]  # fmt: skip
    lengths = [len(one["outputs"][0]["data"]) for one in said]
    assert lengths == [2000, 1, 20_000, 1, 1]
    assert [one["outputs"][0]["data"][0] for one in said][1::2] == [2.0, 3.0]


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("br;q=1, gzip;q=0.2, deflate;q=0.5", "deflate"),
        ("*", "gzip"),
        ("x-gzip", "gzip"),
        ("br", None),
        ("identity", None),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("gzip;q=nonsense", None),
        ("gzip;q=0.2, identity;q=1", None),
        ("", None),
    ],
)
def test_large_answers_are_compressed_as_the_client_asks(
    gateway: GatewayProcess, accept: str, coding: str | None
) -> None:
    """`Vary` says that they may differ; small ones stay as they are."""
    client = gateway.connect()
    client.sendall(head(LARGE, f"Accept-Encoding: {accept}") + LARGE)
    (large,) = hear(client)
    assert large.headers.get("content-encoding") == coding
    assert large.headers["vary"] == "accept-encoding"
    inflate = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[coding]
    assert len(json.loads(inflate(large.body))["outputs"][0]["data"]) == 2000
    client.sendall(head(SMALL, f"Accept-Encoding: {accept}") + SMALL)
    (small,) = hear(client)
    assert "content-encoding" not in small.headers and small.said["outputs"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_refused_at_the_bound_of_a_body(gateway: GatewayProcess, coding: str) -> None:
    """A megabyte that would be a gigabyte: 413, quickly, and the gateway stays small."""
    machine = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    zeros = b" " * (1 << 20)
    bomb = b"".join(machine.compress(zeros) for _ in range(1000)) + machine.flush()
    assert len(bomb) <= BODY_BYTES
    before = peak(gateway)
    client = gateway.connect()
    client.sendall(head(bomb, f"Content-Encoding: {coding}") + bomb)
    (reply,) = hear(client)
    assert (reply.status, reply.said["code"]) == (413, "RP-106")
    assert peak(gateway) - before < 16 << 20


def peak(gateway: GatewayProcess) -> int:
    assert gateway.process is not None
    with open(f"/proc/{gateway.process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", gzip.compress(SMALL, mtime=0)[:-3], 400),
        ("gzip", b"no gzip", 400),
        ("deflate", zlib.compress(SMALL)[:-5], 400),
        ("br", SMALL, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(SMALL, mtime=0), mtime=0), 415),
    ],
    ids=["cut gzip", "no gzip", "cut deflate", "br", "twice"],
)
def test_a_compressed_body_that_is_none_is_refused(
    gateway: GatewayProcess, coding: str, body: bytes, status: int
) -> None:
    """4xx with what is wrong."""
    client = gateway.connect()
    client.sendall(head(body, f"Content-Encoding: {coding}") + body)
    (reply,) = hear(client)
    assert reply.status == status and reply.said["error"]


def test_the_log_has_what_was_meant_not_how_it_came(gateway: GatewayProcess) -> None:
    """Columns of a compressed, chunked request."""
    client = gateway.connect()
    marked = infer(4711.0)
    client.sendall(
        head(None, "Transfer-Encoding: chunked", "Content-Encoding: gzip", "X-Request-Id: marked")
        + chunked(gzip.compress(marked), 5)
    )
    assert hear(client)[0].status == 200
    (asked,) = [one for one in gateway.requests() if one.request_id == "marked"]
    assert asked.inputs == '{"x":[4711.0]}'
