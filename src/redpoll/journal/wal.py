"""Reading one write-ahead file, from its beginning or on and on as it grows."""

from __future__ import annotations

import os

from redpoll.facts import Entry
from redpoll.journal import frames
from redpoll.journal.frames import Wanted
from redpoll.journal.layout import Wal, locked

CHUNK_BYTES = 1 << 20


class WalReader:
    """An open write-ahead file. It can be read to its end even when its name has gone.

    Opening raises ``FileNotFoundError`` where it is gone already.
    """

    def __init__(self, wal: Wal, wanted: Wanted) -> None:
        self.wal = wal
        self.wanted = wanted
        self.sequence = wal.first - 1  # of the last whole frame read
        self.time_us = 0
        self.offset = len(frames.FILE_HEADER)
        self.unreadable = 0
        self.problem = ""
        self._descriptor = os.open(wal.path, os.O_RDONLY | os.O_CLOEXEC)
        header = os.pread(self._descriptor, self.offset, 0)
        self._foreign = header != frames.FILE_HEADER
        if self._foreign:
            self.problem = "its first bytes are not those of a journal file that this redpoll reads"

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def locked(self) -> bool:
        """Whether a writer holds this file now."""
        return locked(self._descriptor)

    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._descriptor).st_size

    def tail(self) -> bytes:
        """The bytes behind the last whole frame."""
        return os.pread(self._descriptor, max(0, self.size() - self.offset), self.offset)

    def batch(self, most: int) -> list[Entry]:
        """Up to ``most`` wanted facts that were not read before; [] at the end, or at a problem.

        Everything up to the file's present end has been read when this returns [].
        """
        out: list[Entry] = []
        want = CHUNK_BYTES
        while len(out) < most and not self._foreign:
            limit = self.size() - self.offset
            chunk = os.pread(self._descriptor, min(want, limit), self.offset) if limit > 0 else b""
            found = frames.scan(
                chunk, limit, self.wal.stream, self.sequence + 1, self.wanted, out, most
            )
            self.unreadable += found.unreadable
            self.problem = found.problem
            if found.at:
                self.offset += found.at
                self.sequence, self.time_us = found.sequence, found.time_us
            elif want >= found.need:
                break  # torn, damaged, or nothing new
            if found.problem or (not found.need and len(chunk) >= limit):
                break
            want = max(CHUNK_BYTES, found.need)
        return out
