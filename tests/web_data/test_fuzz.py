"""Any bytes and any JSON at all do no harm. Wounded requests are in `tests/fuzz`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.catalog import Model
from redpoll.web.heads import Malformed, vet
from tests.web_data.rig import INFER, Plane, replies

MODEL = Model(name="m", unit="user", inputs={"x": "float"}, redact=(), groups={"sex": "header"})


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
