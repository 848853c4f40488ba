"""Chunks and remembered heads: what both sides of the data plane share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.backends.link import read_head
from redpoll.host.wire import Chunks, Remembered, TooLarge, WireError


def chunked(pieces: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    head = b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces if p)
    return head + b"0\r\n" + trailer + b"\r\n"


def feed(chunks: Chunks, raw: bytes, cuts: list[int]) -> tuple[bytes | None, bytes]:
    """Feed in pieces; the body and what was not taken."""
    buffer, body, at = bytearray(), None, 0
    for cut in [*sorted(c % (len(raw) + 1) for c in cuts), len(raw)]:
        buffer += raw[at:cut]
        at = max(at, cut)
        if body is None:
            body = chunks.feed(buffer)
    return body, bytes(buffer)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    st.lists(st.integers(0, 10_000), max_size=8),
    st.sampled_from([b"", b";a=b", b'; x="y"']),
    st.sampled_from([b"", b"X-Sum: 1\r\n", b"A: b\r\nC: d\r\n"]),
    st.binary(max_size=20),
)
def test_a_chunked_body_is_put_together_however_it_is_cut(
    pieces: list[bytes], cuts: list[int], extension: bytes, trailer: bytes, behind: bytes
) -> None:
    """Extensions and trailers are skipped; what follows is left alone."""
    raw = chunked(pieces, extension, trailer) + behind
    assert feed(Chunks(10_000), raw, cuts) == (b"".join(pieces), behind)


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5))
def test_a_chunked_body_past_its_bound_is_refused_before_it_is_held(pieces: list[bytes]) -> None:
    """By what its sizes say."""
    size = sum(map(len, pieces))
    assert feed(Chunks(size), chunked(pieces), [])[0] == b"".join(pieces)
    with pytest.raises(TooLarge):
        feed(Chunks(size - 1), chunked(pieces), [])


@pytest.mark.parametrize(
    "raw",
    [b"x\r\n", b"\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b"1 1\r\n", b"1\na\r\n0\r\n\r\n",
     b"1\r\nab\r\n0\r\n\r\n", b"1\r\na\n0\r\n\r\n", b"1" * 16 + b"\r\n", b"1;" + b"x" * 400,
     b"0\r\nA: b\rc\r\n\r\n", b"0\r\n" + b"A: b\r\n" * 3000, b"1_0\r\n", b" 1\r\n", b"\n\n"],
)  # fmt: skip
def test_chunks_that_are_not_written_as_they_must_be_are_refused(raw: bytes) -> None:
    """No lenience: two readers that disagree about an end are how requests are smuggled."""
    with pytest.raises(WireError):
        feed(Chunks(10_000), raw, [])


@given(st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=4))
def test_any_bytes_are_a_body_a_refusal_or_unfinished(raw: bytes, cuts: list[int]) -> None:
    """And how they were cut makes no difference."""

    def end(where: list[int]) -> object:
        try:
            return feed(Chunks(100), raw, where)
        except (WireError, TooLarge) as error:
            return type(error)

    assert end(cuts) == end([])


def test_remembered_heads_are_bounded_and_what_is_used_stays() -> None:
    """Two generations of at most `limit`."""
    memory: Remembered[int] = Remembered(10)
    memory.put(b"often", 1)
    for at in range(1000):
        memory.put(b"%d" % at, at)
        assert memory.get(b"often") == 1
        assert len(memory.young) + len(memory._old) <= 20
    assert memory.get(b"0") is None
    memory.clear()
    assert memory.get(b"often") is None


@given(st.binary(max_size=80))
def test_any_bytes_are_a_head_or_refused(raw: bytes) -> None:
    """Only WireError (or a bad number), whatever comes."""
    try:
        head = read_head(b"HTTP/1.1 200 OK\r\n" + raw + b"\r\n\r\n")
    except (WireError, ValueError):
        return
    assert 100 <= head.status <= 999
