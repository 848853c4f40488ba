"""Small sealed files of one hour become few, without a reader ever seeing a fact twice or not at all.

A partition's folder is replaced as a whole: the new one is made beside the write-ahead files, with the
merged files and links to those that stay, and then both change places in one step of the kernel
(``renameat2`` with ``RENAME_EXCHANGE``). Whoever lists the folder sees the files from before or those
from after. Whoever listed it before and opens a file after finds it gone, which every engine says
(our own are waited for, or list anew). The old folder is kept for a while, so that a listing that is under way is whole.

What a sealer that was killed has left lies beside the write-ahead files, whether the places were changed
or not, and is removed. An hour is merged when it is over, so it is disturbed once. Where the file system
cannot exchange names, nothing is merged.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from redpoll.clock import Clock, hour
from redpoll.errors import RedpollError
from redpoll.journal import batches, parquet, trailer
from redpoll.journal.layout import Layout, Segment, sync_folder

FOLDER = "merging"  # in journal/wal
PATIENCE_S = 2.0  # with readers of ours: sealing waits meanwhile
GRACE_S = 30.0  # that an old folder is kept
OLD_BYTES_MAX = 1 << 30  # of old folders together: then merging waits for them to go
QUIET_US = 120_000_000  # after an hour's end: files that were open then are sealed by then
BYTES_MAX = 128 << 20  # of a merged file
RETRY_S = 300.0  # after a failure
RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.ENOTSUP)
_log = logging.getLogger("redpoll.sealer")


class Partition(NamedTuple):
    """A folder of sealed files."""

    hour: str
    kind: str
    model: str


class _Old(NamedTuple):
    """A folder that is to go."""

    path: Path
    since: float  # monotonic
    bytes: int


class Merger:
    """Merges what is due, one partition a :meth:`step`. Only the sealer may have one."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self.merged_files = 0  # that went
        self._layout = layout
        self._clock = clock
        self._place = layout.wal / FOLDER
        self._todo: set[Partition] = set()
        self._not_before = 0.0  # monotonic
        self._able = True
        self._number = 0
        self._old = [_Old(path, time.monotonic(), 0) for path in self._place.glob("*")]
        self.note(layout.segments())

    def note(self, segments: Iterable[Segment]) -> None:
        """These are new: their partitions may be worth merging."""
        self._todo |= {Partition(one.hour, one.kind, one.model) for one in segments}

    def step(self) -> int:
        """Merge one partition whose hour is over; how many files fewer there are."""
        self._let_go()
        over = hour(self._clock.now_us() - QUIET_US)
        due = min((one for one in self._todo if one.hour < over), default=None)
        if due is None or not self._able or time.monotonic() < self._not_before:
            return 0
        if sum(old.bytes for old in self._old) > OLD_BYTES_MAX:
            return 0
        try:
            gone = self._merge(due)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                self._able = False
                _log.warning("sealed files are not merged: this file system cannot (%s)", error)
            else:
                _log.error("%s could not be merged (again in %g s): %s", due, RETRY_S, error)
            self._not_before = time.monotonic() + RETRY_S
            return 0
        except Exception:  # one partition, that others must not wait for
            _log.exception("%s could not be merged", due)
            gone = 0
        self._todo.discard(due)
        self.merged_files += gone
        return gone

    def _let_go(self) -> None:
        now = time.monotonic()
        for old in self._old:
            if now - old.since >= GRACE_S:
                shutil.rmtree(old.path, ignore_errors=True)
        self._old = [old for old in self._old if now - old.since < GRACE_S]

    def _merge(self, due: Partition) -> int:
        groups = plan(self._layout.segments_in(due.kind, due.model, due.hour))
        if not groups:
            return 0
        folder = self._layout.partition(due.kind, due.model, due.hour)
        hidden = self._fresh()
        try:
            gone = _build(groups, folder, hidden)
            with _alone(self._layout):
                exchange(hidden, folder)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        size = sum(path.stat().st_size for path in hidden.iterdir())
        self._old.append(_Old(hidden, time.monotonic(), size))
        sync_folder(folder.parent)
        sync_folder(hidden.parent)
        return len(gone) - len(groups)

    def _fresh(self) -> Path:
        """An empty folder beside the write-ahead files."""
        self._place.mkdir(exist_ok=True)
        while True:
            self._number += 1
            path = self._place / str(self._number)
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path


def _build(groups: Sequence[Sequence[Segment]], folder: Path, hidden: Path) -> set[str]:
    """The new folder, durable; the names of the files that are not in it any more."""
    gone = set()
    for group in groups:
        merge(group, hidden)
        gone |= {Path(one.path).name for one in group}
    for path in folder.iterdir():
        if path.name not in gone:
            os.link(path, hidden / path.name)
    sync_folder(hidden)
    return gone


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """While no reader of ours is at work (:func:`redpoll.journal.layout.steady`).

    New ones wait at the first door; for those inside we wait a while, and then go on: they list anew.
    """
    with ExitStack() as doors:
        for folder in (layout.root, layout.wal):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            doors.callback(os.close, descriptor)
            end = time.monotonic() + PATIENCE_S
            while time.monotonic() < end:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.01)
        yield


def plan(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Which of a partition's files become one: neighbours in a stream, up to a segment's bounds.

    A damaged file is left alone, and so is one that does not say where its facts are from.
    """
    groups: list[list[Segment]] = []
    rows = size = 0
    for one in sorted(segments, key=lambda segment: (segment.stream, segment.first)):
        mine, bytes_ = _measure(one)
        last = groups[-1][-1] if groups and groups[-1] else None
        fits = last is not None and last.stream == one.stream
        if not mine:
            groups.append([])
        elif fits and rows + mine <= parquet.ROWS_MAX and size + bytes_ <= BYTES_MAX:
            groups[-1].append(one)
            rows, size = rows + mine, size + bytes_
        else:
            groups.append([one])
            rows, size = mine, bytes_
    return [group for group in groups if len(group) > 1]


def _measure(segment: Segment) -> tuple[int, int]:
    """Rows and bytes of a file that may be merged; (0, 0): it may not."""
    try:
        if parquet.damage(segment.path):
            return 0, 0
    except RedpollError:  # a newer redpoll's
        return 0, 0
    found = pq.read_metadata(segment.path)
    if not trailer.about(found.metadata).wals:
        return 0, 0
    return found.num_rows, Path(segment.path).stat().st_size


def merge(segments: Sequence[Segment], folder: Path) -> Path:
    """One file of several of a stream, in order, in ``folder``. Holds one row group in memory."""
    kind = segments[0].kind
    origins = dict.fromkeys(
        origin
        for one in segments
        for origin in trailer.about(pq.read_metadata(one.path).metadata).wals
    )
    path = folder / f"{segments[0].stream}-{segments[0].first}-{segments[-1].last}.parquet"
    with batches.sealed_file(path, kind, trailer.metadata(origins)) as out:
        for one in segments:
            with pq.ParquetFile(one.path) as file:
                for part in file.iter_batches(parquet.BATCH):
                    out.write(batches.current(kind, part))
    return path


def exchange(one: Path, other: Path) -> None:
    """Let two names change places in one step; ``OSError`` where they cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(AttributeError):
        names = os.fsencode(one), os.fsencode(other)
        if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    raise OSError(errno.ENOSYS, "there is no renameat2")
