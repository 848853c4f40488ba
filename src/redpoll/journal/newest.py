"""Facts found by what they say, newest first, without reading the whole log.

Sealed segments and write-ahead files are *sources*, each with the time before which nothing in it
was written and the time after which nothing was. The youngest source is opened first, only columns
that are asked for are read, and of each only as many rows are kept as a page has: so what a page
costs depends on how far back its rows lie, not on how long the log is. A budget bounds even that;
what it left out is told, with the cursor to go on from.

Where a position is in both, the sealed one counts. A file that vanishes while it is looked for was
sealed or compacted just then: the search begins again.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from redpoll.clock import hour
from redpoll.facts import Entry
from redpoll.journal import newest_live, newest_sealed
from redpoll.journal.layout import Layout, Segment
from redpoll.journal.wanted import LATEST_US, SLACK_US, Key, Row, Wanted

AGAIN = 5  # times that a search begins again


class Budget:
    """How much may be looked at: facts, and seconds. Shared by all parts of one question."""

    def __init__(self, facts: int, seconds: float) -> None:
        self.facts_max = facts
        self.looked = 0
        self.unreadable: set[str] = set()  # sealed files that are damaged: passed over, and told
        self._end_s = time.monotonic() + seconds

    def spent(self) -> bool:
        """Whether no further file may be opened."""
        return self.looked >= self.facts_max or time.monotonic() > self._end_s


class Found(NamedTuple):
    """What was found, newest first. ``more``: where to go on; None: there is nothing older."""

    entries: list[Entry]
    more: Key | None


class Source(NamedTuple):
    """A file: nothing in it is younger than ``newest_us``. ``open`` gives its rows, newest first.

    Rows behind ``after`` only, at most ``limit`` of them, and how many facts were looked at.
    """

    newest_us: int
    open: Callable[[Wanted, Key | None, int], tuple[list[Row], int]]


def find(layout: Layout, wanted: Wanted, *, limit: int, after: Key | None, budget: Budget) -> Found:
    """The newest ``limit`` facts behind ``after`` (None: from the newest on)."""
    for _ in range(AGAIN):
        try:
            return _find(_sources(layout, wanted, after), wanted, limit, after, budget)
        except FileNotFoundError:
            continue
    return _find(_sources(layout, wanted, after), wanted, limit, after, budget)


def _find(
    sources: Iterator[Source], wanted: Wanted, limit: int, after: Key | None, budget: Budget
) -> Found:
    order = itertools.count()
    rows: list[tuple[Key, int, Entry, Iterator[Row]]] = []
    waiting = next(sources, None)
    found: list[Entry] = []
    last: Key | None = None

    def push(rest: Iterator[Row]) -> None:
        row = next(rest, None)
        if row is not None:
            heapq.heappush(rows, (row[0], next(order), row[1], rest))

    while True:
        # What may hold something younger than the youngest row known must have been opened.
        while waiting is not None and (not rows or -waiting.newest_us <= rows[0][0][0]):
            reached = (-waiting.newest_us, "", 0)
            if budget.spent() and (after is None or reached > after):  # else it led to itself
                return Found(found, reached)
            try:
                got, looked = waiting.open(wanted, after, limit + 1)
            except newest_sealed.Damaged as damage:
                budget.unreadable.add(str(damage))
                got, looked = [], 0
            budget.looked += looked
            push(iter(got))
            waiting = next(sources, None)
        if not rows:
            return Found(found, None)
        key, _, entry, rest = heapq.heappop(rows)
        push(rest)
        if key == last:
            continue  # in a segment and in a write-ahead file: the sealed one came first
        if len(found) == limit:
            return Found(found, last)
        found.append(entry)
        last = key


def _sources(layout: Layout, wanted: Wanted, after: Key | None) -> Iterator[Source]:
    """Every file that may hold what is looked for, the one with the youngest facts first.

    Write-ahead files are listed before segments: what has gone from there is here.
    """
    until_us = wanted.until_us if after is None else min(wanted.until_us, 1 - after[0])
    live = [
        Source(newest, functools.partial(newest_live.rows, layout, wal))
        for files in layout.wals().values()
        for wal in files
        if (newest := newest_live.newest_us(wal)) >= wanted.since_us
    ]
    live.sort(key=lambda source: -source.newest_us)
    since = hour(max(0, wanted.since_us - SLACK_US))
    last = hour(until_us) if until_us < LATEST_US else "~"
    segments = [
        segment
        for segment in layout.segments([wanted.kind], wanted.models, since_hour=since)
        if segment.hour <= last
    ]
    sealed = _sealed(segments, wanted.since_us, until_us)
    return heapq.merge(sealed, live, key=lambda source: -source.newest_us)


def _sealed(segments: Sequence[Segment], since_us: int, until_us: int) -> Iterator[Source]:
    """Segments hour by hour, the newest first; only the footers of one hour are read at a time."""
    ordered = sorted(segments, key=lambda segment: segment.hour, reverse=True)
    for _, group in itertools.groupby(ordered, key=lambda segment: segment.hour):
        known = []
        for segment in group:
            oldest, newest = newest_sealed.span_us(segment)
            if newest >= since_us and oldest < until_us:
                known.append(Source(newest, functools.partial(newest_sealed.rows, segment)))
        yield from sorted(known, key=lambda source: -source.newest_us)
