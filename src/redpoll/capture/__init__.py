"""What came over the wire, as the columns that a sealed fact has.

The gateway journals bodies as they are (decoded text, redacted where a model says so) beside a
small header; the sealer makes the final columns of many facts at once with a :class:`Filler`,
readers of one with :func:`materialise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from redpoll.capture import bodies
from redpoll.capture.bodies import (
    CUT,
    NONE,
    OIP_ANSWER,
    OIP_BINARY_ANSWER,
    OIP_BINARY_REQUEST,
    OIP_REQUEST,
    ROWS_REQUEST,
    TEXT,
    TEXT_BYTES_MAX,
    error_outputs,
)
from redpoll.capture.moulds import Moulds
from redpoll.catalog import Tensor
from redpoll.facts import Answer, Entry, Fact, Request

__all__ = [
    "CUT",
    "NONE",
    "OIP_ANSWER",
    "OIP_BINARY_ANSWER",
    "OIP_BINARY_REQUEST",
    "OIP_REQUEST",
    "ROWS_REQUEST",
    "TEXT",
    "TEXT_BYTES_MAX",
    "Filler",
    "error_outputs",
    "materialise",
]

Column = Sequence[Any]

_REQUEST = {name: at for at, name in enumerate(Request.__struct_fields__)}
_OF_REQUESTS = ("rows", "request_id", "inputs", "body", "encoding")
_OF_ANSWERS = ("outputs", "reported")
_ANSWER = {name: at for at, name in enumerate(Answer.__struct_fields__)}


def materialise(entry: Entry, tensor: Tensor | None = None) -> Fact:
    """The fact with its final columns. ``tensor``: the matrix that the model declares, taken apart.

    Pure, and never raises for what a client or a backend sent: a request that cannot be read keeps
    its ``body`` and ``encoding``, an answer's text becomes ``{"error": text}``.
    """
    fact = entry.fact
    if entry.raw_format == NONE or not isinstance(fact, Request | Answer):
        return fact
    if isinstance(fact, Request):
        rows, number, inputs, body, encoding = bodies.request(entry.raw, entry.raw_format, tensor)
        return structs.replace(
            fact,
            rows=fact.rows or rows,
            inputs=inputs,
            request_id=fact.request_id or number,
            body=body,
            encoding=encoding,
        )
    outputs, reported = bodies.answer(entry.raw, entry.raw_format)
    return structs.replace(fact, outputs=outputs, reported=reported)


class Filler:
    """Makes the final columns of many facts of one model.

    It knows what :func:`materialise` knows; but a number in a body of one row may keep the spelling
    that it came in (``1.50``).
    """

    def __init__(self) -> None:
        self._requests = Moulds(bodies.one_request)
        self._answers = Moulds(bodies.one_answer)

    def fill(
        self,
        kind: type[Fact],
        fields: Sequence[Column],
        raws: Sequence[bytes],
        formats: Sequence[int],
        tensor: Tensor | None = None,
    ) -> list[Column]:
        """The final columns of facts of one kind, in the order of the record's fields.

        ``fields``, ``raws`` and ``formats`` have a value a fact. There is no record for each, which
        is most of what sealing used to cost.
        """
        found = list(fields)
        if kind is Request and any(formats):
            places = [_REQUEST[name] for name in _OF_REQUESTS]
            given = zip(*(found[place] for place in places), strict=True)
            made: list[tuple[Any, ...]] = [
                self._request(one, raw, form, tensor) if form else one
                for one, raw, form in zip(given, raws, formats, strict=True)
            ]
        elif kind is Answer and any(formats):
            places, made = [_ANSWER[name] for name in _OF_ANSWERS], []
            given = zip(*(found[place] for place in places), strict=True)
            cast, add = self._answers.cast, made.append
            for one, raw, form in zip(given, raws, formats, strict=True):
                if form == OIP_ANSWER and (ready := cast(raw)) is not None:
                    add((ready[0], ready[2]))
                else:
                    add(bodies.answer(raw, form) if form else one)
        else:
            return found
        for place, column in zip(places, zip(*made, strict=True), strict=True):
            found[place] = column
        return found

    def _request(
        self, one: tuple[Any, ...], raw: bytes, form: int, tensor: Tensor | None
    ) -> tuple[Any, ...]:
        """A request's rows and id are its body's where it has none of its own."""
        cast = self._requests.cast(raw) if form == OIP_REQUEST else None
        if cast is not None:
            return (one[0] or 1, one[1] or cast[1], cast[0], None, None)
        body = bodies.request(raw, form, tensor)
        return (one[0] or body[0], one[1] or body[1], *body[2:])
