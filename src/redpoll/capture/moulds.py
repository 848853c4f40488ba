r"""Bodies of one client are alike but for their values: a mould takes these out of a body's text.

To read a body and write its columns costs twice what it costs to see that it is the last one with
other values. A mould is a pattern of a body's whole text, in which only the values and the id are
free, each one JSON scalar without escapes. So a body that fits has the same names, shapes and order,
and its columns are the mould's with its values, as they were spelled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

MOULDS_MAX = 8  # that are tried for a body
PAUSE = 1000  # bodies without a try to make one: that costs as much as to read some hundred
BODY_BYTES_MAX = 16_384  # longer ones are read: their patterns would be as long

# What an escape, or a number beyond 64 bits, would change is left to the decoder.
_TEXT = rb'"[^"\\\x00-\x1f]*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,20})?(?:[eE][-+]?[0-9]{1,2})?"
_SCALAR = rb"(" + _TEXT + rb"|" + _NUMBER + rb"|true|false|null)"
_VALUE = re.compile(rb'"data":\s*\[\s*' + _SCALAR + rb"\s*\]")
_ID = re.compile(rb'"id":\s*(' + _TEXT + rb")")
_MARK = "a mould's id"

_encode = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """What the decoder says of a body of one row."""

    columns: dict[str, Sequence[object]]
    id: str | None
    reported: str = "{}"  # of an answer


Cast = tuple[str, str, str]  # what a body gives to its fact: columns (JSON), id, reported (JSON)


class Mould(NamedTuple):
    """A body without its values."""

    match: Callable[[bytes], re.Match[bytes] | None]
    form: bytes  # its columns as JSON, with %b for each value
    values: slice  # which of the free places these are
    id: slice  # the one that is the body's id, or none
    reported: str  # is part of the mould, so of every body that fits


class Moulds:
    """The moulds of one model's requests, or of its answers.

    ``read`` is the decoder's way; it raises ``ValueError`` for what is not one row of columns.
    """

    def __init__(self, read: Callable[[bytes], Row]) -> None:
        self._read = read
        self._known: list[Mould] = []  # the one that fitted last comes first
        self._pause = 0

    def cast(self, raw: bytes) -> Cast | None:
        """What a body gives, where a mould fits; None: it must be read."""
        for at, (match, form, values, number, reported) in enumerate(self._known):
            found = match(raw)
            if found is not None:
                if at:
                    self._known.insert(0, self._known.pop(at))
                free = found.groups()
                try:
                    text = (form % free[values]).decode()
                    return text, b"".join(free[number])[1:-1].decode(), reported
                except UnicodeDecodeError:
                    return None
        if self._pause:
            self._pause -= 1
            return None
        made = mould_of(raw, self._read)
        if made is not None:
            self._known = [made, *self._known[: MOULDS_MAX - 1]]
        if made is None or len(self._known) == MOULDS_MAX:
            self._pause = PAUSE
        return None if made is None else self.cast(raw)


def mould_of(raw: bytes, read: Callable[[bytes], Row]) -> Mould | None:
    """The mould of a body; None where it has none."""
    if len(raw) > BODY_BYTES_MAX:
        return None
    values, ids = list(_VALUE.finditer(raw)), list(_ID.finditer(raw))
    if not values or len(ids) > 1:
        return None
    free = sorted(
        [(*one.span(1), _SCALAR) for one in values] + [(*one.span(1), b"") for one in ids]
    )
    pattern, probe, at, number = b"", b"", 0, slice(0)
    kept: list[int] = []  # places of values
    for place, (begin, end, kind) in enumerate(free):
        fixed = raw[at:begin]
        pattern += re.escape(fixed) + (kind or b"(" + _TEXT + b")")
        probe += fixed + (b"%d" % len(kept) if kind else _encode(_MARK))
        if kind:
            kept.append(place)
        else:
            number = slice(place, place + 1)
        at = end
    # The proof that the free places are what they seem to be: other values there are read as such.
    try:
        given, marked = read(raw), read(probe + raw[at:])
    except (ValueError, RecursionError):
        return None
    places = [(name, [place]) for place, name in enumerate(given.columns)]
    if [(name, list(column)) for name, column in marked.columns.items()] != places:
        return None
    if marked.id not in (None, _MARK) or marked.reported != given.reported:
        return None
    if kept[-1] - kept[0] >= len(kept):
        return None  # something that is called id is among the values
    form = b",".join(_encode(name).replace(b"%", b"%%") + b":[%b]" for name in given.columns)
    return Mould(
        re.compile(pattern + re.escape(raw[at:])).fullmatch,
        b"{" + form + b"}",
        slice(kept[0], kept[-1] + 1),
        number if marked.id == _MARK else slice(0),
        given.reported,
    )
