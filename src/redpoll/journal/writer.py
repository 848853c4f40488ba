"""Writing a stream into write-ahead files: the hot path of the journal."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from redpoll import ids
from redpoll.clock import Clock
from redpoll.errors import RedpollError
from redpoll.facts import CODES, Answer, Fact
from redpoll.journal import frames
from redpoll.journal.layout import Layout, sync_folder
from redpoll.journal.port import Encoded

ROTATE_BYTES = 64 * 1024 * 1024
ROTATE_US = 30_000_000
BUFFER_BYTES_MAX = 64 * 1024 * 1024  # what a refusing disk may make us hold
RETRY_ROTATION_US = 1_000_000
SAID_US = 1_000_000  # a clock that steps back by more than that is said
_log = logging.getLogger("redpoll.journal")

_pack, _encode = frames.BEFORE_LABEL.pack, frames.encode_fact
_ANSWER = CODES[Answer]


class FileWriter:
    """See :class:`redpoll.journal.port.Writer`.

    A file gets its lock before it gets its name, so whoever finds a stream whose newest file is not
    locked knows that its writer is gone.
    """

    _descriptor = -1
    _path: Path
    _size: int  # of the file, as far as it is written
    _first: int  # the file's first sequence
    _beats: int  # empty frames in it
    _since: int | None  # when its first fact came, by the clock as it is, not as it is held
    _named: bool  # its name is not durable yet
    _waiting = False  # there is no file yet: the disk refused it, and our owner is patient
    _seen = 0  # the clock as it was when something was buffered last
    _stuck = False  # the first piece of the buffer is what the disk refused last

    def __init__(
        self,
        layout: Layout,
        role: str,
        clock: Clock,
        *,
        rotate_bytes: int = ROTATE_BYTES,
        rotate_us: int = ROTATE_US,
        patient: bool = False,
    ) -> None:
        self.stream = f"{role}-{ids.process_id()}"
        self.held_us = 0  # the furthest that the clock was seen behind the stream
        self._layout = layout
        self._now = clock.now_us
        self._rotate_bytes = rotate_bytes
        self._rotate_us = rotate_us
        self._buffer: list[bytes] = []  # pieces of frames
        self._labels: dict[tuple[str, type[Fact], int], bytes] = {}
        self._time = self._now()
        self._next = 0
        self._full = False
        self._unsynced = False
        self._retired: list[int] = []  # rotated files, still to be synced and closed
        try:
            layout.wal.mkdir(parents=True, exist_ok=True)
            self._start_file()
        except OSError as error:
            if not patient:
                raise _refused("opened", layout.wal, error) from error
            self._waiting = self._full = True

    def append(self, model: str, fact: Fact, raw: bytes = b"", raw_format: int = 0) -> int:
        """Buffer one fact and return its sequence."""
        key = (model, type(fact), raw_format)
        label = self._labels.get(key)
        if label is None:
            if len(self._labels) > 10_000:
                self._labels.clear()
            label = self._labels[key] = frames.label(model, CODES[type(fact)], raw_format)
        self.extend(((label, _encode(fact), raw),))
        return self._next - 1

    def extend(self, facts: Sequence[Encoded]) -> None:
        """Buffer facts that are encoded already: the same frames as :meth:`append`, in one go.

        RP-300 where the disk has refused so much that no more is held. Answers are taken even
        then, without their bodies: their requests are in the journal, and must not stay open.
        """
        if self._full:
            facts = self._without_bodies(facts)
        now = self._seen = self._now()
        if now < self._time:
            now = self._hold(now)
        sequence = self._next
        pieces: list[bytes] = []
        for label, fact, raw in facts:
            rest = _pack(len(fact), len(raw), crc32(raw), sequence, now) + label + fact
            pieces += (crc32(rest).to_bytes(4, "little"), rest, raw)
            sequence += 1
        self._buffer += pieces
        self._time = now
        self._next = sequence

    def beat(self) -> None:
        """Buffer an empty frame. Left out while the disk refuses: facts come first."""
        if self._full:
            return
        now = self._seen = self._now()
        self._time = self._hold(now) if now < self._time else now
        self._buffer.append(frames.beat(self._next, self._time))
        self._next += 1
        self._beats += 1

    def flush(self) -> None:
        """Write all that is buffered, at once.

        What a refusing disk took of it stays taken: the rest is kept and goes on where it stopped,
        in the middle of a frame if need be, so no frame is ever torn but the last.
        """
        if not self._buffer:
            if self._waiting:
                self._start_late()
            return
        if self._stuck:  # alone: it may be large, and the disk may refuse it again
            self._write(self._buffer.pop(0))
        if self._buffer:
            buffer = b"".join(self._buffer)
            self._buffer.clear()
            self._write(buffer)
        self._full = False
        now = self._seen
        if self._since is None and self._next - self._first > self._beats:
            self._since = now  # the first fact of this file: its age counts from here
        # By the clock as it is: one that was set back must not keep a file open until it catches up.
        if self._size >= self._rotate_bytes or (
            self._since is not None and abs(now - self._since) >= self._rotate_us
        ):
            self._rotate(now)

    def _write(self, buffer: bytes) -> None:
        at = 0
        try:
            while at < len(buffer):
                at += os.write(self._descriptor, buffer[at:] if at else buffer)
        except OSError as error:
            self._buffer.insert(0, buffer[at:])
            self._stuck = True
            self._full = self.held_bytes > BUFFER_BYTES_MAX
            raise _refused("written", self._path, error) from error
        finally:
            self._size += at
            self._unsynced = self._unsynced or at > 0
        self._stuck = False

    @property
    def held_now_us(self) -> int:
        """How far this stream is ahead of the clock, which was set back; 0: it is not."""
        return max(0, self._time - self._now())

    @property
    def held_bytes(self) -> int:
        """Bytes that are buffered: what a process that ends now would lose."""
        return sum(map(len, self._buffer))

    def sync(self) -> None:
        """Flush, then ``fdatasync``."""
        self.flush()
        work = self.take_unsynced()
        if work is not None:
            work.run()

    def close(self) -> None:
        """Sync and end the stream; ended it is also where the disk refuses (RP-300)."""
        if self._descriptor < 0:
            return
        try:
            self.sync()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End the stream at once, as a dying process does: what is buffered is lost."""
        self._buffer.clear()
        for descriptor in (*self._retired, self._descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._retired.clear()
        self._descriptor = -1

    def take_unsynced(self) -> SyncWork | None:
        """What must be synced for all that was flushed to survive a power cut; None: nothing.

        The work may run in another thread: it has file descriptors of its own.
        """
        if not self._unsynced:
            return None
        work = SyncWork(self._layout, (*self._retired, os.dup(self._descriptor)), self._named)
        self._retired.clear()
        self._unsynced = self._named = False
        return work

    def _start_file(self) -> None:
        """A new file with its header and first empty frame; the old one stays where this raises."""
        now = self._now()
        self._time = max(now, self._time)
        path = self._layout.wal_path(self.stream, self._next)
        hidden = path.with_name(f".{path.name}.tmp")
        start = frames.FILE_HEADER + frames.beat(self._next, self._time)
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.write(descriptor, start) != len(start):
                raise OSError(28, "the first bytes of a file were cut short")
            hidden.rename(path)
        except OSError:
            os.close(descriptor)
            hidden.unlink(missing_ok=True)
            raise
        self._descriptor, self._path, self._size = descriptor, path, len(start)
        self._first, self._since, self._beats = self._next, None, 1
        self._next += 1
        self._unsynced = self._named = True

    def _start_late(self) -> None:
        """The file that the disk refused at the beginning; nothing was taken before it is there."""
        try:
            self._layout.wal.mkdir(parents=True, exist_ok=True)
            self._start_file()
        except OSError as error:
            raise _refused("opened", self._layout.wal, error) from error
        self._waiting = self._full = False

    def _rotate(self, now: int) -> None:
        old = self._descriptor
        try:
            self._start_file()
        except OSError:
            # Nothing is lost: go on with the old file, and try again a second later.
            self._since = now - self._rotate_us + RETRY_ROTATION_US
            return
        self._retired.append(old)

    def _hold(self, now: int) -> int:
        """The stream's time, which never runs backwards, where the clock does."""
        if self._time - now > SAID_US and self.held_us <= SAID_US:
            _log.warning(
                "the clock was set back by %.1f s; %s waits", (self._time - now) / 1e6, self.stream
            )
        self.held_us = max(self.held_us, self._time - now)
        return self._time

    def _without_bodies(self, facts: Sequence[Encoded]) -> Sequence[Encoded]:
        if not self._waiting and all(label[0] == _ANSWER for label, _, _ in facts):
            return [(bytes((_ANSWER, 0)) + label[2:], fact, b"") for label, fact, _ in facts]
        raise RedpollError(
            "RP-300",
            f"The journal takes no more facts; the disk has refused {self.held_bytes} bytes that are"
            f" still waiting; free space under {self._layout.root}.",
        )


class SyncWork:
    """File descriptors to be synced and closed, once."""

    def __init__(self, layout: Layout, descriptors: tuple[int, ...], named: bool) -> None:
        self._layout = layout
        self._descriptors = descriptors
        self._named = named

    def run(self) -> None:
        """``fdatasync`` each; RP-300 where the disk refuses."""
        failed: OSError | None = None
        for descriptor in self._descriptors:
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                failed = error
            finally:
                os.close(descriptor)
        try:
            if self._named:
                sync_folder(self._layout.wal)
        except OSError as error:
            failed = error
        if failed is not None:
            raise _refused("synced", self._layout.wal, failed) from failed


def _refused(done: str, path: object, error: OSError) -> RedpollError:
    return RedpollError(
        "RP-300",
        f"The journal could not be {done}: {error.strerror or error}; {path} is on a disk that is"
        " full, failing or read-only; free space there, or move data_dir.",
    )
