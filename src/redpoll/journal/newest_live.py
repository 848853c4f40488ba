"""The newest facts of one write-ahead file that say what is looked for."""

from __future__ import annotations

import mmap
from collections import deque
from pathlib import Path

from redpoll.facts import Entry
from redpoll.journal.final import Final
from redpoll.journal.layout import Layout, Wal
from redpoll.journal.reader import wanted as frames_wanted
from redpoll.journal.wal import WalReader
from redpoll.journal.wanted import LATEST_US, SLACK_US, Key, Row, Wanted, key_of

BATCH = 4096
NEEDLES_MAX = 4
SPELLED_OUT = ("prediction_id", "request_id", "unit")  # stand in a frame as they are


def newest_us(wal: Wal) -> int:
    """No fact in the file is younger; of one that has gone nothing is known: say it is the youngest."""
    try:
        return Path(wal.path).stat().st_mtime_ns // 1000 + SLACK_US
    except FileNotFoundError:
        return LATEST_US


def rows(
    layout: Layout, wal: Wal, wanted: Wanted, after: Key | None, limit: int
) -> tuple[list[Row], int]:
    """The newest ``limit`` rows behind ``after``, newest first, and how many facts were looked at.

    ``FileNotFoundError`` where the file has gone.
    """
    if not _may_hold(wal, wanted):
        return [], 0
    frames = frames_wanted(-1, [wanted.kind], wanted.models, wanted.bodies)
    reader = WalReader(wal, frames)
    kept: deque[Row] = deque(maxlen=limit)
    looked = 0
    try:
        while entries := reader.batch(BATCH):
            looked += len(entries)
            for entry in entries:
                if _fits(entry, wanted):
                    key = key_of(entry)
                    if after is None or key > after:
                        kept.append((key, entry))
    finally:
        reader.close()
    found = sorted(kept, key=lambda row: row[0])
    if not wanted.bodies or not found:
        return found, looked
    final = Final(layout.data)
    return [(key, _whole(entry, final)) for key, entry in found], looked


def _whole(entry: Entry, final: Final) -> Entry:
    fact = final.fact(entry)
    return Entry(
        entry.stream, entry.sequence, entry.time_us, entry.schema, entry.model, fact, entry.raw
    )


def _fits(entry: Entry, wanted: Wanted) -> bool:
    if not wanted.since_us <= entry.time_us < wanted.until_us:
        return False
    fact = entry.fact
    return all(getattr(fact, name) in values for name, values in wanted.texts.items())


def _may_hold(wal: Wal, wanted: Wanted) -> bool:
    """Whether the bytes of a rare value stand in the file at all: far cheaper than its frames."""
    needles = next(
        (
            values
            for name, values in wanted.texts.items()
            if name in SPELLED_OUT and len(values) <= NEEDLES_MAX
        ),
        None,
    )
    if needles is None:
        return True
    with Path(wal.path).open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # empty
            return False
        with mapped:
            return any(mapped.find(needle.encode()) >= 0 for needle in needles)
