"""What came over the wire, as the columns that a sealed fact has.

The gateway journals bodies as they are (decoded text, redacted where a model says so) beside a
small header; the sealer and readers make the final columns of them with :func:`materialise`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import structs

from redpoll.catalog import Tensor
from redpoll.errors import RedpollError
from redpoll.facts import Answer, Entry, Fact, Request
from redpoll.tensors import binary, columns, oip

NONE = 0  # no raw body
OIP_REQUEST = 1  # an OIP V2 inference request, JSON
ROWS_REQUEST = 2  # the plain JSON of POST /predict: one row, or {"rows": […]}
OIP_ANSWER = 3  # an OIP V2 inference answer, JSON
TEXT = 4  # an error's text
OIP_BINARY_REQUEST = 5  # the same with binary tensors: see redpoll.tensors.binary.framed
OIP_BINARY_ANSWER = 6

TEXT_BYTES_MAX = 64 * 1024  # of an error's text that are kept


class _Reported(msgspec.Struct):
    parameters: dict[str, Any] | None = None


_document = msgspec.json.Decoder()
_reported = msgspec.json.Decoder(_Reported)


def materialise(entry: Entry, tensor: Tensor | None = None) -> Fact:
    """The fact with its final columns. ``tensor``: the matrix that the model declares, taken apart.

    Pure, and never raises for what a client or a backend sent: a request that cannot be read keeps
    its ``body`` and ``encoding``, an answer's text becomes ``{"error": text}``.
    """
    fact = entry.fact
    if entry.raw_format == NONE or not isinstance(fact, Request | Answer):
        return fact
    if isinstance(fact, Request):
        return _request(fact, entry.raw, entry.raw_format, tensor)
    return _answer(fact, entry.raw, entry.raw_format)


def _request(fact: Request, raw: bytes, raw_format: int, matrix: Tensor | None) -> Request:
    number: str | None = None
    try:
        if raw_format == OIP_REQUEST:
            infer = oip.read(raw)
            number = infer.id
            found = columns.of_tensors(((t.name, t.shape, t.data) for t in infer.inputs), matrix)
            rows = infer.inputs[0].shape[0]
        elif raw_format == ROWS_REQUEST:
            document = _document.decode(raw)
            listed = document["rows"] if isinstance(document.get("rows"), list) else [document]
            if listed is document.get("rows") and isinstance(document.get("id"), str):
                number = document["id"]
            found, rows = columns.of_rows(listed), len(listed)
        elif raw_format == OIP_BINARY_REQUEST:
            return _binary_request(fact, raw, matrix)
        else:
            return structs.replace(fact, body=raw, encoding="application/octet-stream")
    except (RedpollError, ValueError, AttributeError, RecursionError):
        return structs.replace(fact, body=raw, encoding="application/json")
    return structs.replace(
        fact,
        rows=fact.rows or rows,
        inputs=columns.encode(found),
        request_id=fact.request_id or number or "",
    )


def _answer(fact: Answer, raw: bytes, raw_format: int) -> Answer:
    if raw_format == OIP_ANSWER:
        try:
            outputs = columns.read_answer(raw)
        except RedpollError:
            return structs.replace(fact, outputs=error_outputs(raw))
        found = columns.of_tensors((t.name, t.shape, t.data) for t in outputs)
        return structs.replace(fact, outputs=columns.encode(found), reported=_numbers(raw))
    if raw_format == OIP_BINARY_ANSWER:
        try:
            body, head_bytes = binary.unframed(raw)
            outputs = binary.read_answer(body, head_bytes)
        except (RedpollError, ValueError):
            return fact
        found = binary.for_json(columns.of_tensors((t.name, t.shape, t.data) for t in outputs))
        return structs.replace(
            fact, outputs=columns.encode(found), reported=_numbers(body[:head_bytes])
        )
    return structs.replace(fact, outputs=error_outputs(raw)) if raw_format == TEXT else fact


def _binary_request(fact: Request, raw: bytes, matrix: Tensor | None) -> Request:
    """Columns, and the body too where JSON cannot say all that it holds (an infinity)."""
    body, head_bytes = binary.unframed(raw)
    infer = binary.read(body, head_bytes)
    found = columns.of_tensors(((t.name, t.shape, t.data) for t in infer.inputs), matrix)
    whole = binary.exact(infer)
    return structs.replace(
        fact,
        rows=fact.rows or infer.inputs[0].shape[0],
        inputs=columns.encode(binary.for_json(found)),
        request_id=fact.request_id or infer.id or "",
        body=None if whole else body,
        encoding=None if whole else f"application/octet-stream; head_bytes={head_bytes}",
    )


def error_outputs(raw: bytes) -> str:
    """An error's text as ``outputs``: ``{"error": text}``, at most 64 KiB of it.

    A JSON document that has an ``error`` (ours, most servers') gives just that.
    """
    text = raw[:TEXT_BYTES_MAX].decode("utf-8", "replace")
    if text.startswith("{"):
        try:
            said = _document.decode(raw).get("error")
        except (ValueError, RecursionError):
            said = None
        text = said if isinstance(said, str) else text
    return msgspec.json.encode({"error": text}).decode()


def _numbers(raw: bytes) -> str:
    """What the backend reports beside its outputs: the numbers among ``parameters``."""
    if b'"parameters"' not in raw:
        return "{}"
    try:
        given = _reported.decode(raw).parameters or {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "{}"
    kept = {key: value for key, value in given.items() if type(value) in (int, float)}
    return msgspec.json.encode(kept).decode()
