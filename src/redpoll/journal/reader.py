"""Reading = sealed + live tail, by cursor, each position once.

A stream's files may be sealed while they are read. So write-ahead files are listed before segments
(a file that has gone by then is in the segments), positions that both have are taken from the
segments, and where a file vanishes before it is opened the stream is listed again.
"""

from __future__ import annotations

import heapq
import importlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from redpoll import facts
from redpoll.facts import Entry
from redpoll.journal import formats
from redpoll.journal.frames import Wanted
from redpoll.journal.layout import Layout, Segment, Wal
from redpoll.journal.wal import WalReader

BATCH = 4096
_log = logging.getLogger("redpoll.journal")


def read(
    layout: Layout,
    cursors: Mapping[str, int],
    kinds: Sequence[str] | None,
    models: Sequence[str] | None,
    raw: bool,
) -> Iterator[Entry]:
    """Facts behind the cursors, stream after stream (see :meth:`port.Journal.read`)."""
    formats.check(layout.root)
    wals = layout.wals()
    segments = by_stream(layout.segments(kinds, models))
    for stream in sorted(wals.keys() | segments.keys()):
        want = wanted(cursors.get(stream, -1), kinds, models, raw)
        live, done = wals.get(stream, []), segments.get(stream, [])
        while True:
            try:
                for entry in _merged(live, done, want):
                    want = want._replace(after=entry.sequence)
                    yield entry
                break
            except FileNotFoundError:  # sealed just now: list anew, and go on behind the last one
                live = layout.wals().get(stream, [])
                done = by_stream(layout.segments(kinds, models)).get(stream, [])


def wanted(
    after: int, kinds: Sequence[str] | None, models: Sequence[str] | None, raw: bool
) -> Wanted:
    """What to look for in write-ahead files; ``ValueError`` where a kind is unknown."""
    codes = None if kinds is None else frozenset(facts.NAMES.index(kind) for kind in kinds)
    return Wanted(after, codes, None if models is None else frozenset(models), raw)


def by_stream(segments: Iterable[Segment]) -> dict[str, list[Segment]]:
    """Segments of each stream in order of their first sequence."""
    found: dict[str, list[Segment]] = {}
    for segment in segments:
        found.setdefault(segment.stream, []).append(segment)
    for each in found.values():
        each.sort(key=lambda segment: segment.first)
    return found


def sealed(segments: Sequence[Segment], after: int, raw: bool) -> Iterator[Entry]:
    """Facts of one stream's segments behind ``after``, in order, each once.

    Segments (of several facts, models and hours) interleave: a file is opened when its first
    position is due and closed at its end.
    """
    due = sorted((s for s in segments if s.last > after), key=lambda segment: segment.first)
    heap: list[tuple[int, int, Entry, Iterator[Entry]]] = []
    order = itertools.count()

    def push(entries: Iterator[Entry]) -> None:
        entry = next(entries, None)
        if entry is not None:
            heapq.heappush(heap, (entry.sequence, next(order), entry, entries))

    at = 0
    last = after
    while heap or at < len(due):
        while at < len(due) and (not heap or due[at].first <= heap[0][0]):
            push(_segment(due[at], after, raw))
            at += 1
        if heap:
            sequence, _, entry, entries = heapq.heappop(heap)
            if sequence > last:
                last = sequence
                yield entry
            push(entries)


def _segment(segment: Segment, after: int, raw: bool) -> Iterator[Entry]:
    # Whoever never meets a sealed file never loads Arrow: the gateway must not.
    parquet = importlib.import_module("redpoll.journal.parquet")
    found: Iterator[Entry] = parquet.entries(segment, after, raw)
    return found


def _merged(wals: Sequence[Wal], segments: Sequence[Segment], want: Wanted) -> Iterator[Entry]:
    """The sealed ones first where both have a position."""
    last = want.after
    both = heapq.merge(
        sealed(segments, want.after, want.raw), _live(wals, want), key=lambda entry: entry.sequence
    )
    for entry in both:  # heapq.merge is stable: of equal ones the sealed one comes first
        if entry.sequence > last:
            last = entry.sequence
            yield entry


def _live(wals: Sequence[Wal], want: Wanted) -> Iterator[Entry]:
    for wal, later in itertools.zip_longest(wals, wals[1:]):
        if later is not None and later.first <= want.after + 1:
            continue
        reader = WalReader(wal, want)
        try:
            while entries := reader.batch(BATCH):
                yield from entries
            report(reader)
        finally:
            reader.close()


def report(reader: WalReader) -> None:
    """Say once, in the log, what of a file could not be read."""
    for damage in reader.damage:
        _log.warning("%s: %s", reader.wal.path, damage)
    if reader.problem:
        _log.warning(
            "%s: read up to frame %d; %s", reader.wal.path, reader.sequence, reader.problem
        )
    if reader.unreadable:
        _log.warning("%s: %d frames hold no known fact", reader.wal.path, reader.unreadable)
