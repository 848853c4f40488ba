"""One write-ahead file into segments, whatever happens meanwhile.

The order makes it safe to be killed anywhere: segments are put in place, then the ledger says so,
then the file goes. What is done again is done with the same names and the same content.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from redpoll import facts
from redpoll.clock import hour
from redpoll.journal.final import Final
from redpoll.journal.frames import Wanted
from redpoll.journal.layout import BAD_SUFFIX, WAL_SUFFIX, Layout, Segment, Wal
from redpoll.journal.parquet import SegmentWriter, row, sync_tree
from redpoll.journal.trailer import Origin
from redpoll.journal.wal import WalReader
from redpoll.sealer import orphans

BATCH = 4096
_log = logging.getLogger("redpoll.sealer")
_NAME = dict(zip(facts.KINDS, facts.NAMES, strict=True))


class Sealed(NamedTuple):
    """What became of a file."""

    last: int  # its last sequence
    facts: int
    segments: tuple[Segment, ...]
    damage: str  # why some of its bytes could not be sealed; empty: all were


def seal(
    layout: Layout, wal: Wal, final: Final, waiting: orphans.Open | None, complete: bool
) -> Sealed:
    """Write the segments of a file. ``waiting`` is folded on where given.

    ``complete``: the file was rotated, so a torn end is damage; at a dead stream's end it is what
    its writer had not finished, and was never told to be written.
    """
    reader = WalReader(wal, Wanted())
    writers: dict[tuple[str, str, str], SegmentWriter] = {}
    hours: dict[int, str] = {}
    count = misfits = 0
    try:
        while entries := reader.batch(BATCH):
            for entry in entries:
                if waiting is not None:
                    orphans.note(waiting, entry)
                at = entry.time_us // 3_600_000_000
                moment = hours.get(at) or hours.setdefault(at, hour(entry.time_us))
                key = (_NAME[type(entry.fact)], entry.model, moment)
                writer = writers.get(key)
                if writer is None:
                    writer = writers[key] = SegmentWriter(layout, wal.stream, *key)
                try:
                    writer.add(row(entry, final.fact(entry)))
                except Exception:  # our mistake, in one fact: it must not keep the others out
                    _log.exception("fact %d of %s could not be sealed", entry.sequence, wal.stream)
                    misfits += 1
            count += len(entries)
        damage = _damage(reader, complete)
    finally:
        reader.close()
    for writer in writers.values():
        writer.settle()
    misfits += sum(len(writer.misfits) for writer in writers.values())
    for writer in writers.values():
        writer.finish(Origin(wal.first, reader.sequence, count - misfits))
    segments = tuple(s for writer in writers.values() for s in writer.written)
    if segments:
        sync_tree(layout, segments)
    if misfits:
        damage = f"{damage}{damage and '; '}{misfits} facts do not fit their columns"
    return Sealed(reader.sequence, count - misfits, segments, damage)


def remove(wal: Wal, damage: str) -> None:
    """Let a sealed file go. A damaged one is set aside whole: somebody may want to look."""
    path = Path(wal.path)
    if not damage:
        path.unlink()
        return
    kept = path.with_name(path.name.removesuffix(WAL_SUFFIX) + BAD_SUFFIX)
    path.rename(kept)
    _log.error("%s is damaged: %s; what could be read was sealed, the rest is there", kept, damage)


def _damage(reader: WalReader, complete: bool) -> str:
    problems = list(reader.damage)
    if reader.unreadable:
        problems.append(f"{reader.unreadable} frames hold no known fact")
    tail = reader.tail()
    if reader.problem and tail.strip(b"\0"):  # zeros: a power cut before the data was written
        problems.append(f"{reader.problem} ({len(tail)} bytes from {reader.offset} on)")
    elif tail and complete:
        problems.append(f"{len(tail)} bytes at its end are no whole frame")
    elif tail:
        _log.warning("%s: its torn end of %d bytes is left out", reader.wal.path, len(tail))
    return "; ".join(problems)
