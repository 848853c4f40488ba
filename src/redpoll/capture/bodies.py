"""A body as the journal has it, read for the columns of its fact.

The numbers of the formats stand in write-ahead files: they never change their meaning.
"""

from __future__ import annotations

from typing import Any

import msgspec

from redpoll.capture.moulds import Row
from redpoll.catalog import Tensor
from redpoll.errors import RedpollError
from redpoll.tensors import binary, columns

NONE = 0  # no raw body
OIP_REQUEST = 1  # an OIP V2 inference request, JSON
ROWS_REQUEST = 2  # the plain JSON of POST /predict: one row, or {"rows": […]}
OIP_ANSWER = 3  # an OIP V2 inference answer, JSON
TEXT = 4  # an error's text
OIP_BINARY_REQUEST = 5  # the same with binary tensors: see redpoll.tensors.binary.framed
OIP_BINARY_ANSWER = 6
CUT = 7  # the beginning of a request's body of any kind

TEXT_BYTES_MAX = 64 * 1024  # of an error's text that are kept

# rows, the body's own id, inputs (JSON); body and encoding where it could not be read.
RequestColumns = tuple[int, str, str | None, bytes | None, str | None]


class _Reported(msgspec.Struct):
    parameters: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder().decode
_reported = msgspec.json.Decoder(_Reported).decode
_encode = msgspec.json.Encoder().encode


def request(raw: bytes, raw_format: int, matrix: Tensor | None) -> RequestColumns:
    """What a request's body gives to its fact. Never raises for what a client sent."""
    try:
        if raw_format == OIP_REQUEST:
            found, rows, number = columns.of_request(raw, matrix)
        elif raw_format == ROWS_REQUEST:
            found, rows, number = _rows(raw)
        elif raw_format == CUT:
            return 0, "", None, raw, "application/octet-stream; cut"
        elif raw_format == OIP_BINARY_REQUEST:
            return _binary_request(raw, matrix)
        else:
            return 0, "", None, raw, "application/octet-stream"
        return rows, number or "", _encode(found).decode(), None, None
    except (RedpollError, ValueError, AttributeError, RecursionError):
        return 0, "", None, raw, "application/json"


def answer(raw: bytes, raw_format: int) -> tuple[str | None, str]:
    """``outputs`` and ``reported`` of an answer's fact, as JSON. Never raises for what was sent."""
    if raw_format == OIP_BINARY_ANSWER:
        return _binary_answer(raw)
    if raw_format != OIP_ANSWER:
        return (error_outputs(raw) if raw_format == TEXT else None), "{}"
    try:
        found, parameters = columns.of_answer(raw)
        return _encode(found).decode(), _numbers(parameters)
    except (RedpollError, ValueError, RecursionError):
        return error_outputs(raw), "{}"


def _binary_request(raw: bytes, matrix: Tensor | None) -> RequestColumns:
    """Columns, and the body too where JSON cannot say all that it holds (an infinity)."""
    body, head_bytes = binary.unframed(raw)
    infer = binary.read(body, head_bytes)
    found = columns.of_tensors(((t.name, t.shape, t.data) for t in infer.inputs), matrix)
    whole = binary.exact(infer)
    return (
        infer.inputs[0].shape[0],
        infer.id or "",
        columns.encode(binary.for_json(found)),
        None if whole else body,
        None if whole else f"application/octet-stream; head_bytes={head_bytes}",
    )


def _binary_answer(raw: bytes) -> tuple[str | None, str]:
    try:
        body, head_bytes = binary.unframed(raw)
        head = _reported(body[:head_bytes])
        outputs = binary.read_answer(body, head_bytes)
    except (RedpollError, ValueError):
        return None, "{}"
    found = binary.for_json(columns.of_tensors((t.name, t.shape, t.data) for t in outputs))
    return columns.encode(found), _numbers(head.parameters)


def one_request(raw: bytes) -> Row:
    """A request's body of one row. ``ValueError`` where it is none."""
    return Row(*columns.of_one_request(raw))


def one_answer(raw: bytes) -> Row:
    """An answer's body of one row. ``ValueError`` where it is none."""
    found, parameters = columns.of_one_answer(raw)
    return Row(found, None, _numbers(parameters))


def error_outputs(raw: bytes) -> str:
    """An error's text as ``outputs``: ``{"error": text}``, at most 64 KiB of it.

    A JSON document that has an ``error`` (ours, most servers') gives just that.
    """
    text = raw[:TEXT_BYTES_MAX].decode("utf-8", "replace")
    if text.startswith("{"):
        try:
            said = _decode(raw).get("error")
        except (ValueError, RecursionError):
            said = None
        text = said if isinstance(said, str) else text
    return _encode({"error": text}).decode()


def _rows(raw: bytes) -> tuple[columns.Found, int, str | None]:
    document = _decode(raw)
    given = document.get("rows")
    if not isinstance(given, list):
        return columns.of_rows([document]), 1, None
    number = document.get("id")
    return columns.of_rows(given), len(given), number if isinstance(number, str) else None


def _numbers(raw: msgspec.Raw) -> str:
    """What the backend reports beside its outputs: the numbers among ``parameters``."""
    text = bytes(raw)
    given: Any = _decode(text) if text else None
    if not isinstance(given, dict):
        return "{}"
    kept = {key: value for key, value in given.items() if type(value) in (int, float)}
    return _encode(kept).decode()
