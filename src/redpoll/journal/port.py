"""The journal's port: append-only streams of facts, and reading them by cursor.

Every writing process start opens one stream, and only that process writes to it. There is no global
order; a reader keeps a cursor for each stream. Adapters: :mod:`redpoll.journal.memory`,
:mod:`redpoll.journal.files`. Their common conformance suite is public in ``redpoll.testing``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from redpoll.facts import Entry, Fact

# For each stream the last sequence that was read; a stream that is missing was not read at all.
Cursors = dict[str, int]
# A fact that was encoded by who wrote it: its label (``frames.label``), msgpack, raw body.
Encoded = tuple[bytes, bytes, bytes]


class StreamState(NamedTuple):
    """What is known of a stream now."""

    stream: str
    alive: bool  # its writer still runs
    last_sequence: int  # of the last whole frame, beats included; -1: none yet
    last_time_us: int  # its time: the stream is complete up to here


class Writer(Protocol):
    """One open stream. Not thread-safe: its owner is one event loop or one thread."""

    stream: str

    def append(self, model: str, fact: Fact, raw: bytes = b"", raw_format: int = 0) -> int:
        """Buffer one fact and return its sequence. Its time is now, never before the one before."""
        ...

    def extend(self, facts: Sequence[Encoded]) -> None:
        """Buffer facts that are encoded already, all of them at one time; none where this raises."""
        ...

    def beat(self) -> None:
        """Buffer an empty frame: the stream is complete up to now."""
        ...

    def flush(self) -> None:
        """One ``write`` of all that is buffered: from here on it survives kill -9.

        Raises ``RedpollError`` RP-300 where the disk refuses; the buffer is kept for another try.
        """
        ...

    def sync(self) -> None:
        """Flush, then ``fdatasync``: from here on it survives a power cut. Blocks."""
        ...

    def close(self) -> None:
        """Sync and end the stream."""
        ...


class Follower(Protocol):
    """A reader that is asked again and again; each poll costs only what is new."""

    cursors: Cursors
    listed_us: (
        int  # when the streams were listed in the last poll: later ones have later facts only
    )

    def poll(self, limit: int = 10_000) -> list[Entry]:
        """At most ``limit`` new facts (``raw`` left out), moving ``cursors``; [] if none is new."""
        ...

    def streams(self) -> Sequence[StreamState]:
        """Of each stream that still matters, how far *this reader* has seen it (after a poll).

        ``last_sequence`` and ``last_time_us`` count beats. A dead stream is listed until it was
        read to its end. A poll lists the streams before it reads: what no stream in this list, up
        to its ``last_time_us``, nor any other, up to ``listed_us``, has shown did not happen.
        """
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...


class Journal(Protocol):
    """All streams of a data folder."""

    def open(self, role: str, patient: bool = False) -> Writer:
        """A new stream named ``<role>-<12 hex digits>``; RP-300 where the disk refuses.

        ``patient``: then there is a stream all the same. It takes no facts (RP-300) until a flush
        finds that the disk does.
        """
        ...

    def streams(self) -> Sequence[StreamState]:
        """Streams that have facts that are not sealed yet, dead or alive, in order of name."""
        ...

    def read(
        self,
        cursors: Mapping[str, int] | None = None,
        *,
        kinds: Sequence[str] | None = None,
        models: Sequence[str] | None = None,
        raw: bool = True,
    ) -> Iterator[Entry]:
        """Facts behind the cursors, sealed and live, each position once.

        Each stream comes in order of its sequence; streams come one after another. ``kinds`` are
        names such as ``"request"``. ``raw=False`` skips raw bodies (``raw == b""``) and, of sealed
        facts, what was made of them (``inputs``, ``outputs``…).
        """
        ...

    def follow(self, cursors: Mapping[str, int] | None = None) -> Follower:
        """Start following every stream behind the cursors, bodies left out."""
        ...
