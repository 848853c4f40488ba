"""Values of one tensor ↔ the bytes of the binary tensor data extension, for every datatype.

Little-endian, row-major, no padding; BYTES elements carry their length in four bytes (unsigned)
before them. Source: "Binary Tensor Data Extension" of the Open Inference Protocol's REST API, as
Triton documents it. Pure Python: the gateway knows no numpy.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

LENGTH_BYTES = 4  # before each element of a BYTES tensor
_CODES = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
WIDTHS = {kind: struct.calcsize(f"<{code}") for kind, code in _CODES.items()} | {"BF16": 2}
DATATYPES = (*WIDTHS, "BYTES")
FLOATS = ("FP16", "BF16", "FP32", "FP64")
_NAN = {kind: struct.pack(f"<{_CODES[kind]}", math.nan) for kind in ("FP16", "FP32", "FP64")}
_NAN["BF16"] = _NAN["FP32"][2:]
_LENGTH = struct.Struct("<I")

Buffer = bytes | memoryview


class Unfit(ValueError):
    """Bytes or values that are none of the datatype; the text is part of a sentence."""


def check(datatype: str, raw: Buffer, count: int) -> None:
    """See that ``raw`` holds ``count`` values of the datatype. Raises :class:`Unfit`."""
    width = WIDTHS.get(datatype)
    if width is None:
        _elements(raw, count)
        return
    if len(raw) != width * count:
        raise Unfit(f"{count} values of {datatype} are {width * count} bytes, not {len(raw)}")
    if datatype == "BOOL":
        odd = bytes(raw).translate(None, b"\0\1")
        if odd:
            raise Unfit(f"a truth value is the byte 0 or 1, not {odd[0]}")


def decode(datatype: str, raw: Buffer, count: int) -> list[Any]:
    """The values, in Python's types: floats (NaN and infinities too), ints, bools.

    A BYTES element is a ``str`` where it is UTF-8, else ``bytes``. Raises :class:`Unfit`.
    """
    check(datatype, raw, count)
    if datatype == "BYTES":
        return [_text(element) for element in _elements(raw, count)]
    if datatype == "BF16":  # the upper half of an FP32
        wide = bytearray(2 * len(raw))
        wide[2::4], wide[3::4] = bytes(raw[0::2]), bytes(raw[1::2])
        return list(struct.unpack(f"<{count}f", wide))
    return list(struct.unpack(f"<{count}{_CODES[datatype]}", raw))


def encode(datatype: str, values: Sequence[Any]) -> bytes:
    """The bytes of values; None is NaN in a float tensor and no text in one of BYTES.

    Raises :class:`Unfit` where a value is none of the datatype.
    """
    if datatype == "BYTES":
        return b"".join(_element(value) for value in values)
    if datatype == "BF16":
        return b"".join(_half(value) for value in values)
    code = _CODES.get(datatype)
    if code is None:
        raise Unfit(f"{datatype} is no datatype of the protocol")
    if datatype == "BOOL" and not all(type(value) is bool for value in values):
        raise Unfit("a value is no truth value")
    try:
        if datatype in FLOATS and None in values:
            values = [math.nan if value is None else value for value in values]
        return struct.pack(f"<{len(values)}{code}", *values)
    except (struct.error, OverflowError, TypeError) as error:
        raise Unfit(f"a value does not fit {datatype}: {error}") from None


def exact_in_json(datatype: str, raw: Buffer, values: Sequence[Any]) -> bool:
    """Whether the values, written as JSON (null for NaN), give these very bytes again."""
    if datatype not in FLOATS:
        return True
    if any(math.isinf(value) for value in values):
        return False
    if not any(value != value for value in values):
        return True
    width, nan = WIDTHS[datatype], _NAN[datatype]
    return all(
        raw[at * width : (at + 1) * width] == nan
        for at, value in enumerate(values)
        if value != value
    )


def _elements(raw: Buffer, count: int) -> list[Buffer]:
    found: list[Buffer] = []
    at, end = 0, len(raw)
    if count * LENGTH_BYTES > end:
        raise Unfit(f"{count} elements of BYTES take {count * LENGTH_BYTES} bytes at least")
    for index in range(count):
        if at + LENGTH_BYTES > end:
            raise Unfit(f"element {index} begins behind the tensor's end")
        (length,) = _LENGTH.unpack_from(raw, at)
        at += LENGTH_BYTES
        if length > end - at:
            raise Unfit(f"element {index} says that it has {length} bytes; {end - at} are left")
        found.append(raw[at : at + length])
        at += length
    if at != end:
        raise Unfit(f"{end - at} bytes are left behind its {count} elements")
    return found


def _text(element: Buffer) -> str | bytes:
    raw = bytes(element)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _element(value: Any) -> bytes:
    if value is None:
        value = b""
    elif isinstance(value, str):
        try:
            value = value.encode()
        except UnicodeEncodeError:
            raise Unfit("a text has half of a surrogate pair, which UTF-8 cannot carry") from None
    elif not isinstance(value, bytes):
        raise Unfit("an element of BYTES is no text")
    raw: bytes = value
    return _LENGTH.pack(len(raw)) + raw


def _half(value: Any) -> bytes:
    """A float as BF16, rounded to nearest, ties to even (as every converter does)."""
    if value is None or value != value:
        return _NAN["BF16"]
    try:
        bits = int(_LENGTH.unpack(struct.pack("<f", value))[0])
    except (struct.error, OverflowError, TypeError) as error:
        raise Unfit(f"a value does not fit BF16: {error}") from None
    return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
