"""Reading one write-ahead file, from its beginning or on and on as it grows."""

from __future__ import annotations

import os

from redpoll.facts import Entry
from redpoll.journal import formats, frames
from redpoll.journal.frames import Framed, Wanted
from redpoll.journal.layout import Wal, locked

CHUNK_BYTES = 1 << 20


class WalReader:
    """An open write-ahead file. It can be read to its end even when its name has gone.

    Damage ends where the next good frame begins: what stands between is passed over, and said in
    ``damage``. ``problem`` is why nothing can be read from ``offset`` on; empty at a good or a torn
    end.

    Opening raises ``FileNotFoundError`` where it is gone already, RP-310 where a newer redpoll wrote
    it.
    """

    def __init__(self, wal: Wal, wanted: Wanted) -> None:
        self.wal = wal
        self.wanted = wanted
        self.sequence = wal.first - 1  # of the last whole frame read
        self.time_us = 0
        self.offset = len(frames.FILE_HEADER)
        self.unreadable = 0
        self.problem = ""
        self.damage: list[str] = []
        self._searched = (-1, -1)  # from where, and up to which size, no good frame was found
        self._descriptor = os.open(wal.path, os.O_RDONLY | os.O_CLOEXEC)
        version = frames.version_of(os.pread(self._descriptor, self.offset, 0))
        self._foreign = version == 0
        if self._foreign:
            self.problem = "its first bytes are not those of a journal file, or damaged"
        elif version > frames.VERSION:
            self.close()
            raise formats.newer(wal.path, version)

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
        while not out and (found := self.frames(most)):
            self.unreadable += frames.entries(self.wal.stream, found, out)
        return out

    def frames(self, most: int) -> list[Framed]:
        """The same, unread: nobody has looked yet at what these frames hold."""
        out: list[Framed] = []
        want = CHUNK_BYTES
        while len(out) < most and not self._foreign:
            size = self.size()
            limit = size - self.offset
            chunk = os.pread(self._descriptor, min(want, limit), self.offset) if limit > 0 else b""
            found = frames.scan(chunk, limit, self.sequence + 1, self.wanted, out, most)
            self.problem = found.problem
            if found.at:
                self.offset += found.at
                self.sequence, self.time_us = found.sequence, found.time_us
            if len(out) >= most:
                break
            if found.problem or not found.need:  # damaged, torn, or nothing new
                if not self._pass_over(size):
                    break
                want = CHUNK_BYTES
            elif found.at or want < found.need:
                want = max(CHUNK_BYTES, found.need)
            else:
                break
        return out

    def _pass_over(self, size: int) -> bool:
        """Go to the next good frame behind what is none; False where there is none (yet).

        A frame whose header is good says itself where it ends: nothing is sought in its body, which
        a client sent and which may look like frames.

        ``size``: the file's bytes that were looked at. What has grown behind them since is for the
        next look: a frame that was being written then, and is whole now, is not damaged.
        """
        if self.offset >= size or self._searched == (self.offset, size):
            return False
        tail = os.pread(self._descriptor, size - self.offset, self.offset)
        length = frames.whole_length(tail, self.sequence + 1)
        found = None
        if length is not None:
            found = (length, self.sequence + 2) if length <= len(tail) else None
        elif not (frames.headless(tail) and self.locked()):  # else it is being written
            found = frames.next_frame(tail, self.sequence)
        if found is None:
            self._searched = self.offset, size
            return False
        skipped, number = found
        first, last = self.sequence + 1, number - 1
        which = f"frame {first} is" if first >= last else f"frames {first} to {last} are"
        self.damage.append(f"{which} damaged (bytes {self.offset} to {self.offset + skipped - 1})")
        self.offset += skipped
        self.sequence, self.problem = last, ""
        return True
