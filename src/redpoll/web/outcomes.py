"""``POST /v1/outcomes``: one JSON object, or NDJSON lines; 202 with an error for each bad line.

The body counts, not the content type that senders put on it: beacons say ``text/plain``, and
``curl -d`` says ``application/x-www-form-urlencoded``. What is a form indeed (a beacon of
``URLSearchParams``) is one outcome, its fields by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from redpoll.errors import RedpollError
from redpoll.gateway.outcomes import Filed
from redpoll.tensors.malformed import reason

_NOT_JSON = b"multipart/"
_FORM = b"application/x-www-form-urlencoded"
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
    if content_type.lower().startswith(_FORM) and lines and body.lstrip()[:1] not in (b"{", b"["):
        lines = [(1, _form(body))]
    if not lines:
        raise RedpollError("RP-101", "The body is empty; send an outcome as JSON, or NDJSON lines.")
    for number, line in lines:
        try:
            filed.append(read(_document(line)))
        except RedpollError as error:
            errors.append((number, error))
    return filed, errors


def _form(body: bytes) -> bytes:
    """A form (``URLSearchParams``, an HTML form) as the one outcome in JSON that it says."""
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=32
        )
    except ValueError as error:
        raise RedpollError(
            "RP-101", f"The form could not be read: {error}; send an outcome as JSON, or as fields."
        ) from None
    said: dict[str, Any] = {}
    for name, value in pairs:
        if name in said:
            raise RedpollError("RP-101", f"The form has the field {name[:40]!r} twice.")
        said[name] = _scalar(value) if name in ("row", "value") else value
    return _encode(said)


def _scalar(text: str) -> Any:
    """A number or a truth value as such; any other text as it is."""
    try:
        value = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text


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
