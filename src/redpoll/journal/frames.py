"""The bytes of a write-ahead file.

A file is 16 bytes (``MAGIC``, format version, checksum of both) and then frames, the first an empty
one. A frame::

    crc32 of what follows up to the raw body      uint32, little-endian like all numbers
    length of the fact, of the raw body           uint32, uint32
    crc32 of the raw body                         uint32
    sequence, time (µs since the epoch)           int64, int64
    kind, raw format, schema, length of the model four bytes
    model (UTF-8), fact (msgpack), raw body

The raw body has a checksum of its own so that a reader may skip it. An empty frame ("this stream is
complete up to here") has the kind ``facts.BEAT`` and nothing behind its header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

import msgspec

from redpoll.facts import BEAT, KINDS, SCHEMA, Entry, Fact
from redpoll.journal import formats

MAGIC = b"redpoll wal\n"
VERSION = formats.FORMAT


def header(version: int) -> bytes:
    """The first bytes of a file: magic, uint16, and the low half of the crc32 of both."""
    if version == 1:  # it had a uint32, and no checksum
        return MAGIC + b"\1\0\0\0"
    start = MAGIC + version.to_bytes(2, "little")
    return start + (crc32(start) & 0xFFFF).to_bytes(2, "little")


def version_of(first: bytes) -> int:
    """The format version that a file's first bytes say; 0: they are no such bytes, or damaged."""
    said = int.from_bytes(first[len(MAGIC) : len(MAGIC) + 2], "little")
    return said if said > 0 and first == header(said) else 0


FILE_HEADER = header(VERSION)
FRAME = struct.Struct("<IIIIqqBBBB")
AFTER_CRC = struct.Struct("<IIIqqBBBB")
BEFORE_LABEL = struct.Struct("<IIIqq")  # behind the first checksum, where a label comes next
FRAME_BYTES = FRAME.size
_SEQUENCE_AT = 16  # in a frame
_NAME_AT = AFTER_CRC.size  # behind the first checksum
MODEL_BYTES_MAX = 255
HEAD_BYTES_MAX = 1 << 20  # of a frame without its body: more is a damaged length

encode_fact = msgspec.msgpack.Encoder().encode
_DECODE = {code: msgspec.msgpack.Decoder(kind).decode for code, kind in enumerate(KINDS)}


def label(model: str, code: int, raw_format: int) -> bytes:
    """What many frames share: kind, format of the body, schema, and the model.

    Raises ``ValueError`` for a name that takes no 1 to 255 bytes.
    """
    name = model.encode()
    if not 0 < len(name) <= MODEL_BYTES_MAX:
        raise ValueError(f"a model's name takes 1 to 255 bytes, not {len(name)}")
    return bytes((code, raw_format, SCHEMA, len(name))) + name


def decode_fact(code: int, fact: bytes) -> Fact:
    """The fact of a frame. ``msgspec.DecodeError`` where these bytes are none of that kind."""
    found: Fact = _DECODE[code](fact)
    return found


def beat(sequence: int, time_us: int) -> bytes:
    """An empty frame."""
    rest = AFTER_CRC.pack(0, 0, 0, sequence, time_us, BEAT, 0, 0, 0)
    return crc32(rest).to_bytes(4, "little") + rest


# A frame as it stands: kind, model (UTF-8), sequence, time (µs), schema, raw format, fact (msgpack),
# raw body.
Framed = tuple[int, bytes, int, int, int, int, bytes, bytes]


class Scan(NamedTuple):
    """How far :func:`scan` came."""

    at: int  # behind the last frame read
    sequence: int  # of the last frame read
    time_us: int  # its time; 0: none was read
    need: int  # bytes that the chunk must have from ``at`` on to go further; 0: nothing more now
    problem: str  # why the bytes at ``at`` cannot be a frame


class Wanted(NamedTuple):
    """What a reader wants of a file. ``None``: everything."""

    after: int = -1  # frames up to this sequence are passed over
    kinds: frozenset[int] | None = None
    models: frozenset[str] | None = None
    raw: bool = True


def scan(
    chunk: bytes, limit: int, expected: int, wanted: Wanted, out: list[Framed], most: int
) -> Scan:
    """Read whole frames from ``chunk``, which begins at frame ``expected``, into ``out``.

    ``limit`` is how many bytes the file has from the chunk's beginning on: where bodies are not
    wanted, frames that end behind the chunk but within the file are whole. Stops when ``out`` has
    ``most`` frames. What they hold is not looked at: checksums are, and the order of sequences.
    """
    unpack, checksum, size = FRAME.unpack_from, crc32, len(chunk)
    after, kinds, raw_wanted = wanted.after, wanted.kinds, wanted.raw
    models = None if wanted.models is None else {model.encode() for model in wanted.models}
    at, sequence, time_us, problem, need, room = 0, expected - 1, 0, "", 0, most - len(out)
    while room > 0:
        if at + FRAME_BYTES > size:
            need = FRAME_BYTES * (at + FRAME_BYTES <= limit)
            break
        crc, fact_n, raw_n, raw_crc, number, moment, kind, form, schema, name_n = unpack(chunk, at)
        raw_at = at + FRAME_BYTES + name_n + fact_n
        end = raw_at + raw_n
        if end > limit:
            break  # torn, or being written
        whole = end if raw_wanted else raw_at
        if whole > size:
            need = whole - at
            break
        head = chunk[at + 4 : raw_at]  # all that the first checksum covers
        if checksum(head) != crc or number != sequence + 1:
            problem = f"what stands where frame {sequence + 1} must be is no such frame"
            break
        if kind != BEAT and number > after and (kinds is None or kind in kinds):
            raw = chunk[raw_at:whole]
            if raw and checksum(raw) != raw_crc:
                problem = f"the body of frame {number} is damaged"
                break
            fact_at = _NAME_AT + name_n
            name = head[_NAME_AT:fact_at]
            if models is None or name in models:
                form = form if raw_wanted else 0
                out.append((kind, name, number, moment, schema, form, head[fact_at:], raw))
                room -= 1
        at, sequence, time_us = end, number, moment
    return Scan(at, sequence, time_us, need, problem)


def entries(stream: str, found: Iterable[Framed], out: list[Entry]) -> int:
    """Read what frames hold into ``out``; how many were passed over: they hold no known fact."""
    decode, unreadable, known, model = _DECODE, 0, b"", ""
    for kind, name, number, moment, schema, form, fact, raw in found:
        try:
            if name != known:  # seldom: decoded once for many frames
                model, known = name.decode(), name
            out.append(Entry(stream, number, moment, schema, model, decode[kind](fact), raw, form))
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
            unreadable += 1
    return unreadable


def whole_length(tail: bytes, expected: int) -> int | None:
    """How long frame ``expected`` at the beginning of ``tail`` is, all in all, by its good header.

    None: its header (with model and fact) is damaged, or is not all there (:func:`headless`).
    """
    if len(tail) < FRAME_BYTES:
        return None
    crc, fact_n, raw_n, _, number, *_, name_n = FRAME.unpack_from(tail, 0)
    raw_at = FRAME_BYTES + name_n + fact_n
    good = number == expected and crc32(tail[4:raw_at]) == crc
    return raw_at + raw_n if good else None


def headless(tail: bytes) -> bool:
    """Whether the header at the beginning of ``tail`` ends behind it, by its own words.

    Words that no writer would write are not believed.
    """
    if len(tail) < FRAME_BYTES:
        return True
    _, fact_n, *_, name_n = FRAME.unpack_from(tail, 0)
    return bool(len(tail) < FRAME_BYTES + name_n + fact_n <= HEAD_BYTES_MAX)


def next_frame(tail: bytes, sequence: int) -> tuple[int, int] | None:
    """Where the next good frame begins in ``tail``, which begins behind frame ``sequence``.

    And its sequence. None: there is none, so what stands at the beginning was torn off, or is being
    written. The frame at the very beginning is passed over: it is damaged, or we were not asked.
    """
    best: tuple[int, int] | None = None
    upper = (sequence + 1) >> 16  # frames that are near share the upper bytes of their sequence
    for sought in (number.to_bytes(6, "little", signed=True) for number in (upper, upper + 1)):
        at = tail.find(sought, _SEQUENCE_AT + 3)
        while at >= 0:
            begin = at - 2 - _SEQUENCE_AT
            if begin + FRAME_BYTES > len(tail) or (best is not None and begin >= best[0]):
                break
            crc, fact_bytes, _, _, number, *_, name = FRAME.unpack_from(tail, begin)
            end = begin + FRAME_BYTES + name + fact_bytes
            if number > sequence and end <= len(tail) and crc32(tail[begin + 4 : end]) == crc:
                best = begin, number
                break
            at = tail.find(sought, at + 1)
    return best
