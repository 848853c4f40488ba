"""What is looked for among facts, and their order on pages: words of :mod:`.newest` and its sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from redpoll.facts import Entry

LATEST_US = 2**62
SLACK_US = 2_000_000  # a clock that is held, or a frame that is written at the turn of an hour

Key = tuple[int, str, int]  # newest first: minus the time, the stream, minus the sequence
Row = tuple[Key, Entry]


class Wanted(NamedTuple):
    """Facts of one kind whose columns have these values.

    ``texts``: for each of these columns the values that it may have. ``since_us`` and ``until_us``
    are bounds of the fact's own time, the second one exclusive. ``bodies``: inputs, outputs and
    bodies, too.
    """

    kind: str
    models: tuple[str, ...] | None = None
    texts: Mapping[str, frozenset[str]] = {}
    since_us: int = 0
    until_us: int = LATEST_US
    bodies: bool = False


def key_of(entry: Entry) -> Key:
    """Where an entry stands in the order of pages."""
    return (-entry.time_us, entry.stream, -entry.sequence)
