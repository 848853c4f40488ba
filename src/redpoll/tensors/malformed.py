"""Why bytes are no JSON, in words: the decoder's own say "truncated" of three different things."""

from __future__ import annotations

import re

_ENDS = "Input data was truncated"
_HEX = rb"[0-9a-fA-F]"
_HIGH, _LOW = rb"u[dD][89abAB]" + _HEX * 2, rb"u[dD][c-fC-F]" + _HEX * 2
# Everything up to an escape that is half of a surrogate pair, in one pass.
_WHOLE = re.compile(
    rb"(?:[^\\]++|\\(?:" + _HIGH + rb"\\" + _LOW + rb"|u(?![dD][89a-fA-F])|[^u]))*+", re.DOTALL
)
_HALF = re.compile(rb"\\u[dD][89a-fA-F]" + _HEX * 2)


def reason(body: bytes, error: Exception) -> str:
    """What is wrong with ``body``, which a JSON decoder refused with ``error``: part of a sentence.

    Counts bytes from 0.
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return _not_utf8(body, error)
    if not body.strip():
        return "it is empty"
    said = str(error)
    if said == _ENDS or "surrogate" in said:
        half = _half(body)
        if half is not None:
            at, escape = half
            return (
                f"it is invalid Unicode: the escape {escape} at byte {at} is half of a surrogate "
                "pair, which is no character; send both halves, or leave it out"
            )
    # A number that ends with the body (`-`, `1.`, `1e`) is cut off, too.
    if said == _ENDS or said.endswith(f"(byte {len(body)})"):
        return f"it was cut off: it ends at byte {len(body)}, before the JSON does; send it whole"
    return said.removeprefix("JSON is malformed: ")


def _not_utf8(body: bytes, error: UnicodeDecodeError) -> str:
    try:
        body.decode()
    except UnicodeDecodeError as found:
        error = found  # the decoder counts from the beginning of the string that it was in
    return f"it is not UTF-8: {error.reason} at byte {error.start}"


def _half(body: bytes) -> tuple[int, str] | None:
    """Where the first lone surrogate is, and how it is written; None: there is none."""
    found = _WHOLE.match(body)
    at = found.end() if found is not None else len(body)
    half = _HALF.match(body, at)
    # Where no string ends behind it, its other half may be what was cut off.
    if half is None or b'"' not in body[half.end() :]:
        return None
    return at, half.group().decode()
