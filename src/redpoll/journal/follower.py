"""Following every stream: each poll costs only what is new.

Listing goes before reading, and within it the write-ahead files before the ledger. So a file that
has gone has its segments in the ledger, a file with a newer one beside it is complete, and a stream
that is found dead gets no more frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from redpoll.clock import Clock
from redpoll.facts import Entry
from redpoll.journal import formats
from redpoll.journal import reader as reading
from redpoll.journal.frames import Wanted
from redpoll.journal.layout import Layout, Segment, Wal, path_locked
from redpoll.journal.ledger import LedgerReader
from redpoll.journal.port import StreamState
from redpoll.journal.wal import WalReader

_END = 2**63 - 1


class _Tail:
    """Where the follower stands in one stream."""

    def __init__(self, stream: str, sequence: int) -> None:
        self.stream = stream
        self.sequence = sequence
        self.time_us = 0
        self.alive = False
        self.wal: WalReader | None = None
        self.done = -1  # files that begin here or earlier have been read to their end
        self.sealed: Iterator[Entry] | None = None
        self.sealed_upto = -1


class FileFollower:
    """See :class:`redpoll.journal.port.Follower`.

    ``damaged`` counts files that could not be read to their end, ``unreadable`` frames that hold no
    known fact.
    """

    def __init__(
        self, layout: Layout, cursors: Mapping[str, int], clock: Clock, *, raw: bool = False
    ) -> None:
        formats.check(layout.root)
        self.cursors = dict(cursors)
        self.listed_us = 0
        self.damaged = 0
        self.unreadable = 0
        self._layout = layout
        self._clock = clock
        self._raw = raw
        self._ledger = LedgerReader(layout)
        self._walk = True  # the sealed files' names must be read
        self._tails: dict[str, _Tail] = {}
        self._ended: set[str] = set()  # read to their end, their files not yet gone
        self._segments: dict[str, list[Segment]] = {}  # sealed, not read

    def poll(self, limit: int = 10_000) -> list[Entry]:
        """New facts, at most ``limit``."""
        wals = self._list()
        out: list[Entry] = []
        for tail in list(self._tails.values()):
            try:
                while len(out) < limit and self._advance(
                    tail, wals.get(tail.stream, []), out, limit
                ):
                    pass
            except FileNotFoundError:  # sealed, or compacted, just now: the next listing says where
                tail.sealed = None
                self._walk = True
            if tail.sequence >= 0:
                self.cursors[tail.stream] = tail.sequence
        return out

    def streams(self) -> Sequence[StreamState]:
        """How far each stream was seen, by the last poll."""
        return [
            StreamState(tail.stream, tail.alive, tail.sequence, tail.time_us)
            for tail in self._tails.values()
        ]

    def close(self) -> None:
        """Let go of all files."""
        self._ledger.close()
        for tail in self._tails.values():
            if tail.wal is not None:
                tail.wal.close()
        self._tails.clear()

    def _list(self) -> dict[str, list[Wal]]:
        self.listed_us = self._clock.now_us()
        wals = self._layout.wals()
        lines = self._ledger.news()
        if lines is None or self._walk:
            self._walk = False
            self._segments.clear()  # what is gone (merged, say) is in none of these any more
            found = self._layout.segments()
        else:
            paths = (path for line in lines for path in line.segments)
            found = [s for s in map(self._layout.segment_of, paths) if s is not None]
        for stream, segments in reading.by_stream(found).items():
            known = {s.path: s for s in (*self._segments.get(stream, ()), *segments)}
            self._segments[stream] = list(known.values())
        for stream, segments in list(self._segments.items()):
            unread = [s for s in segments if s.last > self.cursors.get(stream, -1)]
            if unread:
                self._segments[stream] = unread
            else:
                del self._segments[stream]
        self._ended &= wals.keys()
        for stream in sorted((wals.keys() | self._segments.keys()) - self._tails.keys()):
            if stream not in self._ended:
                self._tails[stream] = _Tail(stream, self.cursors.get(stream, -1))
        self._mark_alive(wals)
        return wals

    def _mark_alive(self, wals: Mapping[str, Sequence[Wal]]) -> None:
        """A stream is dead if its newest file is not locked, and still the newest after that."""
        unlocked: list[tuple[_Tail, Wal]] = []
        for tail in self._tails.values():
            files = wals.get(tail.stream)
            tail.alive = False
            if files:
                try:
                    tail.alive = path_locked(files[-1].path)
                except FileNotFoundError:
                    tail.alive = True  # rotated and sealed since it was listed, or dead: see later
                    continue
                if not tail.alive:
                    unlocked.append((tail, files[-1]))
        if unlocked:
            again = self._layout.wals()
            for tail, newest in unlocked:
                tail.alive = any(w.first > newest.first for w in again.get(tail.stream, ()))

    def _advance(self, tail: _Tail, wals: Sequence[Wal], out: list[Entry], limit: int) -> bool:
        """One step in a stream; False when there is nothing more to do in it now."""
        if tail.sealed is not None:
            self._drain_sealed(tail, out, limit)
            return True
        if tail.wal is None:
            return self._open_next(tail, wals)
        got = tail.wal.batch(limit - len(out))
        out += got
        if tail.wal.sequence > tail.sequence:
            tail.sequence = tail.wal.sequence
        tail.time_us = max(tail.time_us, tail.wal.time_us)
        if got:
            return True
        first = tail.wal.wal.first
        if tail.alive and not any(wal.first > first for wal in wals):
            return False
        if tail.wal.problem or tail.wal.damage:
            self.damaged += 1
        self.unreadable += tail.wal.unreadable
        reading.report(tail.wal)
        tail.wal.close()
        tail.wal, tail.done = None, first
        return True

    def _drain_sealed(self, tail: _Tail, out: list[Entry], limit: int) -> None:
        assert tail.sealed is not None
        got = list(itertools.islice(tail.sealed, limit - len(out)))
        out += got
        if got:
            tail.sequence, tail.time_us = got[-1].sequence, got[-1].time_us
        if len(out) < limit:
            tail.sealed = None
            tail.sequence = max(tail.sequence, tail.sealed_upto)

    def _open_next(self, tail: _Tail, wals: Sequence[Wal]) -> bool:
        """Go on with the next write-ahead file, or with segments where some come before it."""
        files = [wal for wal in wals if wal.first > tail.done]
        held = [wal for wal in files if wal.first <= tail.sequence + 1]
        following = held[-1] if held else files[0] if files else None
        upto = _END if following is None else following.first - 1
        if upto > tail.sequence:
            segments = [
                s
                for s in self._segments.get(tail.stream, ())
                if s.last > tail.sequence and s.first <= upto
            ]
            if segments:
                every = reading.sealed(segments, tail.sequence, self._raw)
                tail.sealed = itertools.takewhile(lambda entry: entry.sequence <= upto, every)
                tail.sealed_upto = min(upto, max(s.last for s in segments))
                return True
        if following is not None:
            tail.wal = WalReader(following, Wanted(after=tail.sequence, raw=self._raw))
            return True
        if not tail.alive:
            del self._tails[tail.stream]
            self._ended.add(tail.stream)
        return False
