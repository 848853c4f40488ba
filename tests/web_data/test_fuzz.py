"""Whatever bytes come: clear 4xx replies or a closed connection, never a 5xx, facts always whole."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.catalog import Limits, Model
from redpoll.web.heads import Malformed, vet
from tests.web_data.rig import BODY, INFER, Plane, infer, replies, request

MODEL = Model(name="m", unit="user", inputs={"x": "float"}, redact=(), groups={"sex": "header"})
SEEDS = [
    request("POST", INFER, BODY, redpoll_unit="u-1"),
    request("POST", INFER, infer(1.0, 2.0, id="r-1"), traceparent=f"00-{'a' * 32}-{'b' * 16}-01"),
    request("POST", "/v2/models/m/versions/v2/infer", BODY, x_request_id="k", redpoll_deadline_ms="900"),
    request("POST", "/predict/m", b'{"x": 1.5}', redpoll_unit="u", redpoll_group_sex="f"),
    request("POST", "/predict/m", b'{"rows": [{"x": 1}, {"x": null}], "id": "k"}', redpoll_subject="p"),
    request("POST", "/predict/m", gzip.compress(b'{"x": 1.5}'), content_encoding="gzip"),
    request("POST", "/v1/outcomes", b'{"name":"redo","request_id":"r","model":"m"}\n{"name":3}\n'),
    request("GET", "/v2/models/m/ready") + request("GET", "/v2") + request("HEAD", "/readyz"),
    request("GET", "/v2/health/live", connection="close"),
    b"POST /predict/m HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"x\":\r\n3\r\n 1}\r\n0\r\nA: b\r\n\r\n",
    b"POST /predict/m HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n{\"x\": 1}",
    b"POST /predict/m HTTP/1.0\r\nContent-Length: 8\r\n\r\n{\"x\": 1}",
]  # fmt: skip
WORDS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b"\xff", b" ", b":", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Host: x\r\n", b"Connection: close\r\n", b"HTTP/1.0", b"HTTP/1.1",
    b"0\r\n\r\n", b"99999999999999999999", b"-1", b"NaN", b"1e999", b"null", b"{", b"[", b"\"", b"}",
    b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\nConnection: Upgrade\r\n", b"%2f", b"%00", b"../",
    b"redpoll-unit: \xe4\r\n", b"x-request-id: a\x01b\r\n", b"redpoll-deadline-ms: 1\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Encoding: br\r\n", b"Inference-Header-Content-Length: 3\r\n",
]  # fmt: skip


def mutate(dice: random.Random) -> bytes:
    """One or two seeds with a few wounds."""
    raw = bytearray(dice.choice(SEEDS))
    if dice.random() < 0.3:
        raw += dice.choice(SEEDS)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3, 5))):
        at = dice.randrange(len(raw) + 1)
        kind = dice.randrange(6)
        if kind == 0 and raw:
            raw[at % len(raw)] = dice.randrange(256)
        elif kind == 1:
            raw[at:at] = dice.choice(WORDS)
        elif kind == 2:
            del raw[at : at + dice.choice((1, 2, 8, 60))]
        elif kind == 3:
            raw[at:at] = raw[at : at + dice.choice((1, 5, 40, 200))]
        elif kind == 4:
            raw[at : at + len(dice.choice(WORDS))] = dice.choice(WORDS)
        else:
            del raw[at:]
    return bytes(raw)


def cut(raw: bytes, dice: random.Random) -> list[bytes]:
    points = sorted(dice.randrange(len(raw) + 1) for _ in range(dice.choice((0, 0, 1, 2, 5))))
    return [raw[a:b] for a, b in zip([0, *points], [*points, len(raw)], strict=True) if raw[a:b]]


async def feed(plane: Plane, pieces: list[bytes], leave: bool) -> list[int]:
    """Feed one connection; the statuses of its replies."""
    connection, transport = plane.connect()
    for piece in pieces:
        if transport.closed:
            break
        connection.data_received(piece)
    if leave:
        if not transport.closed:
            connection.eof_received()
    else:
        for _ in range(40):
            before = len(transport.out)
            await plane.settle(2)
            if len(transport.out) == before:
                break
    connection.connection_lost(None)
    await plane.settle(2)
    # A HEAD has no body behind its length: read its heads by themselves.
    out = bytes(transport.out)
    if b"HEAD " in b"".join(pieces):
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", out)]
    return [reply.status for reply in replies(out)]


def test_tens_of_thousands_of_wounded_requests_do_no_harm(tmp_path: Path) -> None:
    """No exception, no 5xx, replies whole, no place lost, one answer for every request."""

    async def go() -> None:
        seen: dict[int, int] = {}
        for block in range(20):
            dice = random.Random(block)
            plane = Plane(tmp_path, MODEL, limits=Limits(body_bytes=400, header_bytes=600))
            for _ in range(1000):
                raw = mutate(dice)
                statuses = await feed(plane, cut(raw, dice), dice.random() < 0.1)
                for status in statuses:
                    assert status < 500, raw
                    seen[status] = seen.get(status, 0) + 1
            plane.whole()
            assert not plane.clients.connections
        # The fuzz reaches deep: good answers and every kind of refusal are among what it saw.
        assert {200, 202, 400, 404, 405, 413, 415} <= seen.keys()
        assert seen[200] > 1000

    asyncio.run(go())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable]:
    """One plane and one loop for all examples: ``shared(test)`` awaits ``test(plane)``."""
    with asyncio.Runner() as runner:

        async def make() -> Plane:
            return Plane(tmp_path_factory.mktemp("plane"), MODEL)

        plane = runner.run(make())
        yield lambda test: runner.run(test(plane))


@settings(max_examples=300)
@given(st.lists(st.binary(min_size=1, max_size=80), max_size=4))
def test_any_bytes_at_all_do_no_harm(shared: Callable, pieces: list[bytes]) -> None:
    """Mostly these are no HTTP: 400, or silence until more comes."""

    async def go(plane: Plane) -> None:
        for status in await feed(plane, pieces, leave=False):
            assert status == 400 or status < 300

    shared(go)


@settings(max_examples=150)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["x", "rows", "id", "inputs", "name", "shape", "data", "datatype"]), inner, max_size=4),
    max_leaves=10), st.sampled_from([INFER, "/predict/m", "/v1/outcomes"]))  # fmt: skip
def test_any_json_at_all_does_no_harm(shared: Callable, said: object, path: str) -> None:
    """200, 202 or a 400 that says why."""

    async def go(plane: Plane) -> None:
        reply = await plane.ask("POST", path, json.dumps(said).encode())
        assert reply.status in (200, 202, 400)
        if reply.status == 400:
            assert len(reply.said["error"]) > 20
            assert reply.said["code"].startswith("RP-")
        assert plane.gateway.taken == 0

    shared(go)


TOKEN = st.text("abcXYZ-_09!~", min_size=1, max_size=8)
VALUE = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20
)


@given(TOKEN, VALUE)
def test_a_vetted_head_has_its_headers_as_they_were_sent(name: str, value: str) -> None:
    """White space around a value is not part of it; names are in lower case."""
    raw = f"GET /v2?q=1#f HTTP/1.1\r\nHost: h\r\n{name}: {value}\r\n\r\n".encode("latin-1")
    try:
        head = vet(raw)
    except Malformed:
        assert name.lower() in ("host", "connection", "upgrade") or value.strip() != value.strip(
            " \t"
        )
        return
    assert head.target == "/v2"
    if name.lower() != "host":
        assert head.headers[name.lower().encode()] == value.strip(" \t").encode("latin-1")
