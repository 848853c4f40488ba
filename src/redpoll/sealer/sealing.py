"""One write-ahead file into segments, whatever happens meanwhile.

The order makes it safe to be killed anywhere: segments are put in place, then the ledger says so,
then the file goes. What is done again is done with the same names and the same content.
"""

from __future__ import annotations

import gc
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from redpoll import facts
from redpoll.clock import hour
from redpoll.journal import bulk
from redpoll.journal.final import Final
from redpoll.journal.frames import Framed, Wanted
from redpoll.journal.layout import BAD_SUFFIX, WAL_SUFFIX, Layout, Segment, Wal
from redpoll.journal.parquet import SegmentWriter, sync_tree
from redpoll.journal.trailer import Origin
from redpoll.journal.wal import WalReader
from redpoll.sealer import orphans

BATCH = 8192
HOUR_US = 3_600_000_000
_log = logging.getLogger("redpoll.sealer")
_NAME = dict(zip(facts.KINDS, facts.NAMES, strict=True))


class Sealed(NamedTuple):
    """What became of a file."""

    last: int  # its last sequence
    facts: int
    segments: tuple[Segment, ...]
    damage: str  # why some of its bytes could not be sealed; empty: all were


@contextmanager
def _no_collector() -> Iterator[None]:
    """Millions of objects come and go here, none of them in a cycle: to look for some costs 10 %."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@_no_collector()
def seal(
    layout: Layout,
    wal: Wal,
    final: Final,
    waiting: orphans.Open | None,
    complete: bool,
    since: int | None = None,
) -> Sealed:
    """Write the segments of a file. ``waiting`` is folded on where given.

    ``since``: where the files before it began that held no facts; its segments say so.

    ``complete``: the file was rotated, so a torn end is damage; at a dead stream's end it is what
    its writer had not finished, and was never told to be written.
    """
    reader = WalReader(wal, Wanted())
    writers: dict[tuple[type[facts.Fact], str, int], SegmentWriter] = {}
    count = 0
    try:
        while found := reader.frames(BATCH):
            known = [(at, part) for at, framed in _grouped(found) for part in bulk.parts(framed)]
            if waiting is not None:
                orphans.note_parts(waiting, (part for _, part in known))
            for at, part in known:
                key = (part.kind, part.model, at)
                writer = writers.get(key)
                if writer is None:
                    writer = writers[key] = SegmentWriter(
                        layout, final, wal.stream, _NAME[part.kind], part.model, hour(at * HOUR_US)
                    )
                writer.add(part)
                count += len(part)
            reader.unreadable += len(found) - sum(len(part) for _, part in known)
        damage = _damage(reader, complete)
    finally:
        reader.close()
    misfits = sum(writer.misfits for writer in writers.values())
    for writer in writers.values():
        writer.finish(
            Origin(wal.first if since is None else since, reader.sequence, count - misfits)
        )
    segments = tuple(s for writer in writers.values() for s in writer.written)
    if segments:
        sync_tree(layout, segments)
    if misfits:
        damage = f"{damage}{damage and '; '}{misfits} facts do not fit their columns"
    return Sealed(reader.sequence, count - misfits, segments, damage)


def _grouped(found: Sequence[Framed]) -> Iterator[tuple[int, list[Framed]]]:
    """Frames by kind, model and hour since the epoch: each hour, and what was written in it."""
    hours = [one[3] // HOUR_US for one in (found[0], found[-1])]
    if hours[0] != hours[1]:  # time never runs backwards in a stream
        for at, some in groupby(found, lambda one: one[3] // HOUR_US):
            for _, group in _grouped(list(some)):
                yield at, group
        return
    groups: dict[tuple[object, ...], list[Framed]] = defaultdict(list)
    for one in found:
        groups[one[:2]].append(one)
    for group in groups.values():
        yield hours[0], group


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
