"""Many frames of one kind and model at once, as columns: what sealing needs.

A record for each fact would cost more than all the rest. What cannot be read together is halved
until what is wrong stands alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from redpoll import facts
from redpoll.journal.frames import Framed

Column = Sequence[Any]

_rows = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode
_ARRAY = b"\xdd"  # msgpack: an array with four bytes of length
_FACTS = [msgspec.msgpack.Decoder(kind).decode for kind in facts.KINDS]
_WIDTHS = [len(kind.__struct_fields__) for kind in facts.KINDS]


class Part(NamedTuple):
    """Facts of one kind and model, in order of sequence."""

    kind: type[facts.Fact]
    model: str
    sequences: Column
    times_us: Column
    schemas: Column
    fields: list[Column]  # in the order of the record's fields
    formats: Sequence[int]  # how to read the raw bodies
    bodies: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.sequences)

    def field(self, name: str) -> Column:
        """One field of all facts."""
        return self.fields[self.kind.__struct_fields__.index(name)]

    def halves(self) -> tuple[Part, Part]:
        """The first and the second half."""
        return self._slice(0, len(self) // 2), self._slice(len(self) // 2, len(self))

    def _slice(self, begin: int, end: int) -> Part:
        return Part(
            self.kind,
            self.model,
            self.sequences[begin:end],
            self.times_us[begin:end],
            self.schemas[begin:end],
            [column[begin:end] for column in self.fields],
            self.formats[begin:end],
            self.bodies[begin:end],
        )


def parts(found: Sequence[Framed]) -> Iterator[Part]:
    """What frames of one kind and model hold; left out is what holds no fact of a known kind."""
    try:
        yield _part(found)
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError, ValueError):
        if len(found) > 1:
            yield from parts(found[: len(found) // 2])
            yield from parts(found[len(found) // 2 :])


def _part(found: Sequence[Framed]) -> Part:
    kinds, models, sequences, times, schemas, formats, packed, bodies = zip(*found, strict=True)
    kind, width = facts.KINDS[kinds[0]], _WIDTHS[kinds[0]]
    rows = _rows(b"".join((_ARRAY, len(packed).to_bytes(4, "big"), *packed)))
    if len(rows) != len(packed):
        raise ValueError("not one fact a frame")
    try:
        fields = list(zip(*rows, strict=True))
    except ValueError:  # of redpolls of several ages
        fields = []
    if len(fields) != width:  # fields that an older redpoll did not know, or a newer one added
        decode = _FACTS[kinds[0]]
        fields = list(zip(*(msgspec.structs.astuple(decode(one)) for one in packed), strict=True))
    return Part(kind, models[0].decode(), sequences, times, schemas, list(fields), formats, bodies)
