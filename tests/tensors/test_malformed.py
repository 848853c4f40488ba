"""Bytes that are no JSON, and what is said of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.errors import RedpollError
from redpoll.tensors import oip, rows
from redpoll.tensors.malformed import reason

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def said(body: bytes) -> str:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)) as caught:
        msgspec.json.decode(body)
    return reason(body, caught.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (b'{"age": 4', "cut off: it ends at byte 9"),
        (b'{"age"', "cut off: it ends at byte 6"),
        (b'{"a": "\\ud83d\\ude', "cut off: it ends at byte 17"),
        (b'{"a": "\\\\ud800"', "cut off: it ends at byte 15"),
        (b'{"a": "x\\ud800y"}', r"the escape \ud800 at byte 8 is half of a surrogate pair"),
        (b'{"\\udc00": 1}', r"the escape \udc00 at byte 2 is half"),
        (b'{"a": "\\ud83d\\ude00 \\\\ \\ud800\\ud800"}', r"the escape \ud800 at byte 23 is half"),
        (b'{"a": "\\\\\\uD800"', r"the escape \uD800 at byte 9 is half"),
        (b'{"a": "abc\xff"}', "not UTF-8: invalid start byte at byte 10"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "None",}', "trailing comma in object (byte 13)"),
    ],
)
def test_what_is_wrong_with_bytes_that_are_no_json_is_said(body: bytes, words: str) -> None:
    """Empty, cut off, half of a surrogate pair, not UTF-8: each by its name, with the byte."""
    assert words in said(body)


@pytest.mark.parametrize("body", [b"[-", b"[1.", b"[1e", b"[1e+", b"[tru"])
def test_a_number_or_word_that_was_begun_is_cut_off(body: bytes) -> None:
    """Not an invalid number: the rest of it did not come."""
    assert f"cut off: it ends at byte {len(body)}" in said(body)


@given(DOCUMENTS, st.booleans(), st.data())
def test_what_is_cut_anywhere_is_said_to_be_cut_off(
    document: Any, ascii_only: bool, data: st.DataObject
) -> None:
    """However it is escaped; never that its characters are at fault."""
    whole = json.dumps([document], ensure_ascii=ascii_only).encode()
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    assert f"cut off: it ends at byte {len(cut)}" in said(cut)


@given(DOCUMENTS, st.integers(0xD800, 0xDFFF), st.data())
def test_half_of_a_surrogate_pair_is_found_where_it_is(
    document: Any, half: int, data: st.DataObject
) -> None:
    """Behind whatever else there is, pairs and escaped backslashes too."""
    before = json.dumps([document, "\U0001f600\\"])[:-1]
    after = data.draw(st.sampled_from(['"', 'x"', '\\\\"', '\\n"]']))
    body = f'{before}, "\\u{half:04x}{after}]'.encode()
    assert f"the escape \\u{half:04x} at byte {len(before) + 3} is half" in said(body)


def test_who_sends_nothing_is_told_what_to_send() -> None:
    """Each face its own shape."""
    for read, words in (
        (oip.read, 'it is empty; send {"inputs": [{'),
        (lambda body: rows.read(body, {}), 'it is empty; send one row {"age": 41}'),
    ):
        with pytest.raises(RedpollError) as caught:
            read(b"")
        assert caught.value.code == "RP-101"
        assert words in caught.value.message


def test_a_word_inside_a_text_is_not_taken_for_a_missing_number() -> None:
    """NaN where a number should be is; "None" in a text beside another mistake is not."""
    for body, words in (
        (b'{"a": NaN}', "the token NaN"),
        (b'{"a": [1, -Infinity]}', "the token -Infinity"),
        (b'{"a": None}', "the token None"),
        (b'{"a": "None", }', "trailing comma"),
        (b'{"a": "NaN"', "cut off"),
    ):
        with pytest.raises(RedpollError) as caught:
            rows.read(body, {})
        assert words in caught.value.message
