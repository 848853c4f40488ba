"""Wounds: what turns a well-formed request into one that nobody should send."""

from __future__ import annotations

import gzip
import random
import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz.corpus import SEEDS, TOKEN, Asked

WORDS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b"\xff", b"\xc3", b" ", b"\t", b":", b",", b";", b"HTTP/1.0",
    b"HTTP/1.1", b"HTTP/2.0", b"0\r\n\r\n", b"99999999999999999999", b"-1", b"1_0", b"+5", b"0x5", b"NaN", b"1e999",
    b"null", b"true", b"{", b"[", b'"', b"}", b"]", b"\\u0000", b"\\ud800", b"%2f", b"%00", b"../", b"%c3%28",
    b"Host: x\r\n", b"Connection: close\r\n", b"Connection: keep-alive, te\r\n", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: xchunked\r\n", b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT h:1 HTTP/1.1\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Encoding: br\r\n", b"Inference-Header-Content-Length: 3\r\n",
    b"redpoll-unit: \xe4\r\n", b"x-request-id: a\x01b\r\n", b"redpoll-deadline-ms: 1\r\n", b"Accept: text/event-stream\r\n",
]  # fmt: skip
LENGTHS = [
    b"0", b"1", b"5, 5", b"5,6", b"-1", b"+5", b"0x5", b"1_0", b"5 ", b"\t5", b"05", b"", b"5.0", b"9" * 6,
    b"9" * 14, b"9" * 15, b"9" * 20, b"18446744073709551616", b"\xd9\xa5", b"5;q=1",
]  # fmt: skip
HEADERS = [
    (b"content-length", b"3"), (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"gzip, chunked"),
    (b"content-encoding", b"gzip"), (b"content-encoding", b"deflate"), (b"content-encoding", b"gzip, gzip"),
    (b"accept-encoding", b"gzip;q=nan, deflate;q=1e400, *;q=-0"), (b"accept", b"application/octet-stream"),
    (b"authorization", b"Bearer " + TOKEN), (b"authorization", b"Bearer \xff"), (b"origin", b"null"), (b"origin", b"x:\x85"),
    (b"redpoll-unit", b"\xe4" * 300), (b"redpoll-unit", b""), (b"redpoll-group-a.b", b"1"), (b"x-request-id", b"%0d%0a"),
    (b"redpoll-deadline-ms", b"\xb2"), (b"redpoll-deadline-ms", b"999999999999"), (b"redpoll-group-sex", b"\xe9"),
    (b"traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00"), (b"tracestate", b"a=b"), (b"content-type", b"text/csv"),
    (b"content-type", b"multipart/form-data; boundary=a"), (b"content-type", b"application/x-www-form-urlencoded"),
    (b"expect", b"100-continue"), (b"connection", b"close, upgrade"), (b"upgrade", b"websocket"), (b"te", b"trailers"),
    (b"inference-header-content-length", b"10"), (b"host", b"a, b"), (b"redpoll-subject", b"\x80" * 40),
]  # fmt: skip
VALUES = [
    b"null", b"true", b"-0.0", b"1e308", b"1e309", b"-1e-400", b"9007199254740993", b"18446744073709551616",
    b"1" * 400, b"NaN", b"Infinity", b'""', b'"\\ud800"', b'"\\u0000"', b'"' + b"x" * 600 + b'"', b"[]", b"{}",
    b"[[]]", b"[" * 300, b"[" * 5000, b'{"a":' * 2000, b"-1", b"0", b"[0]", b"[-1]", b"[1,0]", b"[0,1]", b"[2,2]",
    b"[1000000000,0]", b"[0,1000000000]", b"[4294967296,4294967296]", b"[" + b"1," * 40 + b"1]", b'"FP16"', b'"BYTES"', b'"BOOL"',
    b'"INT8"', b'"UINT64"', b'"fp32"', b"1.0", b"1e2", b'"\xff"', b'"\xed\xa0\x80"', b"[null,1]", b"[true,1.5,\"a\"]",
]  # fmt: skip
_VALUE = re.compile(
    rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\"(?:[^\"\\]|\\.)*\"|\[[^][{}]*\]|true|null"
)
_BOMB = gzip.compress(bytes(3_000_000), 9, mtime=0)
Dice = random.Random


class Case(NamedTuple):
    """What one connection sends, in which pieces, and whether it leaves before its replies."""

    pieces: list[bytes]
    leaves: bool = False
    stops_reading: bool = False

    @property
    def raw(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


def _value(one: Asked, dice: Dice) -> None:
    """A JSON value is another one."""
    found = list(_VALUE.finditer(one.body, 0, 4000))
    if found:
        at = dice.choice(found)
        one.body = one.body[: at.start()] + dice.choice(VALUES) + one.body[at.end() :]


def _body_bytes(one: Asked, dice: Dice) -> None:
    """The body is hurt, and its length right."""
    one.body = bytes(hurt(bytearray(one.body), dice))


def _splice(one: Asked, dice: Dice) -> None:
    """The head of one request, the body of another."""
    one.body = dice.choice(SEEDS).body


def _length(one: Asked, dice: Dice) -> None:
    """A length that lies, or is none."""
    name = dice.choice((b"content-length", b"content-length", b"inference-header-content-length"))
    said = one.get(name)
    near = b"%d" % (int(said) + dice.choice((-2, -1, 1, 2, 7))) if said and said.isdigit() else b"7"
    one.set(name, dice.choice((near, dice.choice(LENGTHS))))


def _inner_length(one: Asked, dice: Dice) -> None:
    """A binary tensor's size that lies, beside a JSON length that is right for it."""
    head = one.get(b"inference-header-content-length")
    if head is None or not head.isdigit():
        return
    json, raw = one.body[: int(head)], one.body[int(head) :]
    found = list(re.finditer(rb"\d+", json))
    if found:
        at = dice.choice(found)
        value = dice.choice(LENGTHS[:2] + LENGTHS[13:16] + [b"2", b"4", b"8", b"16", b"24"])
        json = json[: at.start()] + value + json[at.end() :]
    one.body = json + raw
    one.set(b"inference-header-content-length", b"%d" % len(json))


def _twice(one: Asked, dice: Dice) -> None:
    """A header comes again, as it was or otherwise."""
    name, value = dice.choice(one.headers or [(b"host", b"h")])
    again = value if dice.random() < 0.5 else bytes(hurt(bytearray(value), dice))
    one.headers.insert(dice.randrange(len(one.headers) + 1), (name, again))


def _header(one: Asked, dice: Dice) -> None:
    """One more header, in whatever place."""
    one.headers.insert(dice.randrange(len(one.headers) + 1), dice.choice(HEADERS))


def _drop(one: Asked, dice: Dice) -> None:
    """A header is missing."""
    if one.headers:
        del one.headers[dice.randrange(len(one.headers))]


def _odd_header(one: Asked, dice: Dice) -> None:
    """A header's name or value as no grammar has it: blanks, folds, bytes, cases, masses."""
    if not one.headers:
        return
    at = dice.randrange(len(one.headers))
    name, value = one.headers[at]
    one.headers[at] = dice.choice([
        (name + b" ", value), (b" " + name, value), (name, b"\r\n " + value), (name, value + b"\r\n\tx"),
        (name.upper(), value), (name + b"\0", value), (name, value + b"\0"), (b"", value), (name, b""),
        (name.replace(b"-", b"_"), value), (name, value * 40), (name, value + b"\r"), (name + b":", value),
        (name, b"\x7f" + value), (name * 80, value), (name, b" \t " + value + b" \t "),
    ])  # fmt: skip
    if dice.random() < 0.05:
        one.headers += [(b"a%d" % i, b"b" * dice.choice((1, 60))) for i in range(60)]


def _line(one: Asked, dice: Dice) -> None:
    """Another method, target or protocol."""
    method, _, rest = one.line.partition(b" ")
    target, _, protocol = rest.partition(b" ")
    kind = dice.randrange(3)
    if kind == 0:
        method = dice.choice(
            (b"GET", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"post", b"PRI", b"M-SEARCH")
        )
    elif kind == 1:
        target = dice.choice((
            b"*", b"h:80", b"http://h" + target, b"HTTP://", b"//x" + target, target + b"?q=%00#f", target + b"/",
            target.replace(b"m", b"%6d", 1), target.replace(b"/m", b"/%2e%2e"), target + b"/versions/\xff", b"/predict/",
            target.replace(b"/m", b"/" + b"m" * 300), b"/v2/models/" + dice.choice(WORDS[:9]), b"/" + b"%ff" * 60,
        ))  # fmt: skip
    else:
        protocol = dice.choice(
            (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/0.9", b"HTTP/2.0", b"", b"HTTP/1.1 x", b"http/1.1")
        )
    one.line = method + b" " + target + (b" " + protocol if protocol else b"")


def _chunk(one: Asked, dice: Dice) -> None:
    """The body comes in chunks, and most of their sizes are true."""
    out, body = bytearray(), one.body
    while body:
        size = dice.choice((1, 3, 17, 200))
        piece, body = body[:size], body[size:]
        told = b"%x" % len(piece)
        if dice.random() < 0.03:
            told = dice.choice(
                (b"%x" % (len(piece) + 1), b"0", b"-1", b"1" * 16, b"g", b"", b"0x2", b" 2")
            )
        out += told + dice.choice((b"", b"", b"", b";a=b", b" ", b";" + b"x" * 300)) + b"\r\n"
        out += piece + dice.choice((b"\r\n",) * 40 + (b"\n", b"", b"xx\r\n"))
    out += (
        b"0\r\n"
        + dice.choice((b"", b"", b"a: b\r\n", b"content-length: 3\r\n", b"x" * 9000))
        + b"\r\n"
    )
    one.body = bytes(out)
    one.headers = [
        h for h in one.headers if h[0].lower() not in (b"content-length", b"transfer-encoding")
    ]
    one.headers.append(
        (b"transfer-encoding", dice.choice((b"chunked",) * 9 + (b"Chunked", b"identity")))
    )


def _press(one: Asked, dice: Dice) -> None:
    """The body is compressed: well, cut, hurt, twice, or a bomb."""
    kind = dice.randrange(4)
    if kind == 0:
        raw, name = gzip.compress(one.body, 1, mtime=0), b"gzip"
    elif kind == 1:
        raw, name = zlib.compress(one.body, 1), b"deflate"
    elif kind == 2:
        machine = zlib.compressobj(1, zlib.DEFLATED, -15)
        raw, name = machine.compress(one.body) + machine.flush(), b"deflate"
    else:
        raw, name = _BOMB, b"gzip"
    if dice.random() < 0.5:
        raw = dice.choice(
            (raw[: len(raw) // 2], raw + raw, raw + b"\0" * 9, bytes(hurt(bytearray(raw), dice)))
        )
    one.body = raw
    one.set(b"content-encoding", name)


MEANT: tuple[Callable[[Asked, Dice], None], ...] = (
    _value, _value, _value, _body_bytes, _body_bytes, _splice, _inner_length, _inner_length, _twice, _header, _header,
    _drop, _odd_header, _line, _chunk, _press,
)  # fmt: skip


def hurt(raw: bytearray, dice: Dice) -> bytearray:
    """One wound to bytes, whatever they mean."""
    at = dice.randrange(len(raw) + 1)
    kind = dice.randrange(8)
    if kind == 0 and raw:
        raw[at % len(raw)] = dice.randrange(256)
    elif kind == 1 and raw:
        raw[at % len(raw)] ^= 1 << dice.randrange(8)
    elif kind == 2:
        raw[at:at] = dice.choice(WORDS)
    elif kind == 3:
        del raw[at : at + dice.choice((1, 2, 8, 60))]
    elif kind == 4:
        raw[at:at] = raw[at : at + dice.choice((1, 5, 40, 200))]
    elif kind == 5:
        word = dice.choice(WORDS)
        raw[at : at + len(word)] = word
    elif kind == 6:
        other = dice.choice(SEEDS).encode()
        raw[at:] = other[dice.randrange(len(other)) :]
    else:
        del raw[at:]
    return raw


def _one(dice: Dice) -> Asked:
    one = dice.choice(SEEDS).copy()
    if one.get(b"authorization") is None and dice.random() < 0.7:
        one.headers.append((b"authorization", b"Bearer " + TOKEN))
    length = one.get(b"content-length")
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3))):
        dice.choice(MEANT)(one, dice)
    if length is not None and one.get(b"content-length") == length:
        one.set(b"content-length", b"%d" % len(one.body))
    if dice.random() < 0.12:
        _length(one, dice)
    return one


def case(dice: Dice) -> Case:
    """What one connection sends."""
    raw = bytearray()
    for _ in range(dice.choice((1, 1, 1, 1, 2, 3))):
        raw += _one(dice).encode()
    for _ in range(dice.choice((0, 0, 0, 1, 1, 2, 4))):
        raw = hurt(raw, dice)
    return Case(cut(bytes(raw), dice), dice.random() < 0.06, dice.random() < 0.04)


def cut(raw: bytes, dice: Dice) -> list[bytes]:
    """In pieces, as a network would; seldom byte by byte."""
    if dice.random() < 0.01 and len(raw) < 800:
        return [raw[at : at + 1] for at in range(len(raw))]
    points = sorted(dice.randrange(len(raw) + 1) for _ in range(dice.choice((0, 0, 0, 1, 2, 5))))
    return [raw[a:b] for a, b in zip([0, *points], [*points, len(raw)], strict=True) if raw[a:b]]
