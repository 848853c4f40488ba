"""Names of an ONNX model's classes, and whether its weights lie beside it; read without ``onnx``.

An ONNX file is one protobuf message. Only the few fields that are needed here are read, by their
numbers in ``onnx.proto`` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
NODE_ATTRIBUTE = 5
ATTRIBUTE_NAME, ATTRIBUTE_INTS, ATTRIBUTE_STRINGS = 1, 8, 9
TENSOR_EXTERNAL = 13
_LABELS = (b"classlabels_strings", b"classlabels_int64s", b"classlabels_ints")


class Labels(NamedTuple):
    """``classes`` as the model's classifier or ZipMap lists them, in order; empty: not known."""

    classes: list[Any]
    external: bool  # weights lie in files of their own


class _Broken(Exception):
    pass


def read(raw: bytes) -> Labels:
    """Read what a model file says of itself; nothing of a file that is none."""
    classes: list[Any] = []
    external = False
    try:
        for _, graph in _fields(memoryview(raw), MODEL_GRAPH):
            for number, part in _fields(graph, GRAPH_NODE, GRAPH_INITIALIZER):
                if number == GRAPH_NODE:
                    classes = _classes(part) or classes
                else:
                    external = external or any(True for _ in _fields(part, TENSOR_EXTERNAL))
    except (_Broken, IndexError):
        return Labels([], external)
    return Labels(classes, external)


def _classes(node: memoryview) -> list[Any]:
    for _, attribute in _fields(node, NODE_ATTRIBUTE):
        name = next((bytes(value) for _, value in _fields(attribute, ATTRIBUTE_NAME)), b"")
        if name not in _LABELS:
            continue
        texts = [
            bytes(value).decode("utf-8", "replace")
            for _, value in _fields(attribute, ATTRIBUTE_STRINGS)
        ]
        numbers = [n for _, value in _fields(attribute, ATTRIBUTE_INTS) for n in _ints(value)]
        if texts or numbers:
            return texts or numbers
    return []


def _ints(value: Any) -> list[int]:
    """Repeated int64s: one, or several that are packed."""
    if isinstance(value, int):
        return [_signed(value)]
    found, at = [], 0
    while at < len(value):
        one, at = _varint(value, at)
        found.append(_signed(one))
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _fields(message: Any, *wanted: int) -> Iterator[tuple[int, Any]]:
    """Number and value (an int, or the bytes of text or message) of these fields of a message."""
    if isinstance(message, int):
        raise _Broken
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        value: Any
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise _Broken
            value, at = message[at : at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = message[at : at + size], at + size
        else:
            raise _Broken
        if number in wanted:
            yield number, value


def _varint(message: Any, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise _Broken
