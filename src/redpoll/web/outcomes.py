"""``POST /v1/outcomes``: one JSON object, or NDJSON lines; 202 with an error for each bad line.

The body counts, not the content type that senders put on it: beacons say ``text/plain``, and
``curl -d`` says ``application/x-www-form-urlencoded``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from redpoll.errors import RedpollError
from redpoll.gateway.outcomes import Filed
from redpoll.tensors.malformed import reason

_NOT_JSON = b"multipart/"
_decoder = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


def take(
    body: bytes, content_type: bytes, read: Callable[[Any], Filed]
) -> tuple[list[Filed], list[tuple[int, RedpollError]]]:
    """The good outcomes, and an error with the number of its line (from 1) for each bad one.

    Raises ``RedpollError`` where the body as a whole is not one that is read here.
    """
    if content_type.lower().startswith(_NOT_JSON):
        raise RedpollError(
            "RP-111",
            "Forms in parts are not read here; send JSON, or NDJSON with one outcome a line.",
        )
    filed: list[Filed] = []
    errors: list[tuple[int, RedpollError]] = []
    lines = _lines(body)
    if not lines:
        raise RedpollError("RP-101", "The body is empty; send an outcome as JSON, or NDJSON lines.")
    for number, line in lines:
        try:
            filed.append(read(_document(line)))
        except RedpollError as error:
            errors.append((number, error))
    return filed, errors


def _lines(body: bytes) -> list[tuple[int, bytes]]:
    if body.count(b"\n") and body.lstrip()[:1] == b"{":
        try:
            _decoder.decode(body)  # one object, written over several lines
            return [(1, body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    listed = enumerate(body.split(b"\n"), 1)
    return [(number, line) for number, line in listed if line.strip()]


def _document(line: bytes) -> Any:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RedpollError("RP-101", f"The line is no JSON: {reason(line, error)}.") from None


def receipt(accepted: int, errors: list[tuple[int, RedpollError]]) -> bytes:
    """What became of the lines."""
    return _encode(
        {
            "accepted": accepted,
            "rejected": len(errors),
            "errors": [
                {"line": number, "error": error.message, "code": error.code}
                for number, error in errors
            ],
        }
    )
