"""The journal in memory: the twin for tests and simulations, one process only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from redpoll import facts, ids
from redpoll.clock import Clock, SystemClock
from redpoll.facts import Entry, Fact
from redpoll.journal.frames import decode_fact
from redpoll.journal.port import Encoded, StreamState


class _Frame(NamedTuple):
    sequence: int
    time_us: int
    entry: Entry | None  # None: a beat


class _Stream:
    def __init__(self, name: str, time_us: int) -> None:
        self.name = name
        self.alive = True
        self.frames = [_Frame(0, time_us, None)]  # flushed ones

    def state(self, upto: int) -> StreamState:
        """As seen by someone who has read ``upto`` frames."""
        last = self.frames[upto - 1] if upto else _Frame(-1, 0, None)
        return StreamState(self.name, self.alive, last.sequence, last.time_us)


class MemoryWriter:
    """See :class:`redpoll.journal.port.Writer`."""

    def __init__(self, stream: _Stream, clock: Clock) -> None:
        self.stream = stream.name
        self._stream = stream
        self._clock = clock
        self._buffer: list[_Frame] = []
        self._time = stream.frames[-1].time_us
        self._next = 1

    def append(self, model: str, fact: Fact, raw: bytes = b"", raw_format: int = 0) -> int:
        """Buffer one fact and return its sequence."""
        if not 0 < len(model.encode()) <= 255:
            raise ValueError("a model's name takes 1 to 255 bytes")
        sequence, now = self._step()
        entry = Entry(self.stream, sequence, now, facts.SCHEMA, model, fact, bytes(raw), raw_format)
        self._buffer.append(_Frame(sequence, now, entry))
        return sequence

    def extend(self, facts: Sequence[Encoded]) -> None:
        """Buffer facts that are encoded already."""
        for label, fact, raw in facts:
            self.append(label[4:].decode(), decode_fact(label[0], fact), raw, label[1])

    def beat(self) -> None:
        """Buffer an empty frame."""
        sequence, now = self._step()
        self._buffer.append(_Frame(sequence, now, None))

    def flush(self) -> None:
        """From here on readers see it."""
        self._stream.frames += self._buffer
        self._buffer = []

    def sync(self) -> None:
        """The same: memory has no disk to wait for."""
        self.flush()

    def close(self) -> None:
        """Flush and end the stream."""
        self.flush()
        self._stream.alive = False

    def abandon(self) -> None:
        """End the stream at once, as a dying process does: what is buffered is lost."""
        self._buffer = []
        self._stream.alive = False

    def _step(self) -> tuple[int, int]:
        self._time = max(self._time, self._clock.now_us())
        self._next += 1
        return self._next - 1, self._time


class MemoryFollower:
    """See :class:`redpoll.journal.port.Follower`."""

    def __init__(
        self, streams: Mapping[str, _Stream], cursors: Mapping[str, int], clock: Clock
    ) -> None:
        self.cursors = dict(cursors)
        self.listed_us = 0
        self._streams = streams
        self._clock = clock
        self._listed: list[_Stream] = []

    def poll(self, limit: int = 10_000) -> list[Entry]:
        """New facts, at most ``limit``."""
        self.listed_us = self._clock.now_us()
        self._listed = [self._streams[name] for name in sorted(self._streams)]
        out: list[Entry] = []
        for stream in self._listed:
            at = self.cursors.get(stream.name, -1) + 1  # sequences count from 0, without gaps
            while at < len(stream.frames) and len(out) < limit:
                entry = stream.frames[at].entry
                if entry is not None:
                    out.append(_bare(entry))
                at += 1
            self.cursors[stream.name] = at - 1
        self._listed = [s for s in self._listed if s.alive or self._behind(s)]
        return out

    def streams(self) -> Sequence[StreamState]:
        """How far each stream was seen, by the last poll."""
        return [stream.state(self.cursors[stream.name] + 1) for stream in self._listed]

    def close(self) -> None:
        """Nothing is held."""

    def _behind(self, stream: _Stream) -> bool:
        return self.cursors[stream.name] + 1 < len(stream.frames)


class MemoryJournal:
    """See :class:`redpoll.journal.port.Journal`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._streams: dict[str, _Stream] = {}

    def open(self, role: str, patient: bool = False) -> MemoryWriter:
        """A new stream; memory refuses none."""
        name = f"{role}-{ids.process_id()}"
        stream = self._streams[name] = _Stream(name, self._clock.now_us())
        return MemoryWriter(stream, self._clock)

    def streams(self) -> Sequence[StreamState]:
        """All streams: nothing is ever sealed here."""
        found = [self._streams[name] for name in sorted(self._streams)]
        return [stream.state(len(stream.frames)) for stream in found]

    def read(
        self,
        cursors: Mapping[str, int] | None = None,
        *,
        kinds: Sequence[str] | None = None,
        models: Sequence[str] | None = None,
        raw: bool = True,
    ) -> Iterator[Entry]:
        """Facts behind the cursors."""
        codes = None if kinds is None else {facts.NAMES.index(kind) for kind in kinds}
        for name in sorted(self._streams):
            after = (cursors or {}).get(name, -1)
            for frame in list(self._streams[name].frames[after + 1 :]):
                entry = frame.entry
                if entry is None or (models is not None and entry.model not in models):
                    continue
                if codes is None or facts.CODES[type(entry.fact)] in codes:
                    yield entry if raw else _bare(entry)

    def follow(self, cursors: Mapping[str, int] | None = None) -> MemoryFollower:
        """Start following every stream behind the cursors."""
        return MemoryFollower(self._streams, cursors or {}, self._clock)


def _bare(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, raw=b"", raw_format=0)
