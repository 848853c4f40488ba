"""A worker's stderr, from its pipe into a file that never grows beyond a bound."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

MOST_BYTES = 1 << 20
KEPT_BYTES = 1 << 19
BLOCK = 1 << 16
LAST_WORDS_S = 1.0  # before its end: what a process wrote earlier does not say why it ended
DROPPED = b"(what was written before is gone: this file keeps the newest half megabyte)\n"


class BoundedFile:
    """Appends; past ``most`` bytes only the newest ``kept`` stay. Readers see whole files."""

    def __init__(self, path: Path, most: int = MOST_BYTES, kept: int = KEPT_BYTES) -> None:
        self.path = path
        self._most = most
        self._kept = kept
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Append; a full disk loses it."""
        try:
            os.write(self._fd, data)
            self._size += len(data)
            if self._size > self._most:
                self._cut()
        except OSError:
            return

    def close(self) -> None:
        """Close; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _cut(self) -> None:
        with self.path.open("rb") as file:
            file.seek(max(0, self._size - self._kept))
            tail = file.read(self._kept).partition(b"\n")[2]
        new = self.path.with_name(f".{self.path.name}.new")
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, DROPPED + tail)
        new.replace(self.path)
        os.close(self._fd)
        self._fd = fd
        self._size = len(DROPPED) + len(tail)


class Pump:
    """Moves what arrives in a pipe into a file, on the loop; remembers the last line and when."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pipe: int, file: BoundedFile) -> None:
        os.set_blocking(pipe, False)
        self._loop = loop
        self._pipe = pipe
        self._file = file
        self._tail = b""
        self._heard_s = 0.0  # when something was written last
        loop.add_reader(pipe, self._readable)

    @property
    def last_line(self) -> str:
        """The last line that is not empty, cut to 300 characters; "" where none came just now.

        To be asked when the process has ended: a warning of an hour ago is not why.
        """
        if self._loop.time() - self._heard_s > LAST_WORDS_S:
            return ""
        lines = self._tail.decode("utf-8", "replace").strip().rsplit("\n", 1)
        return lines[-1].strip().removeprefix("| ")[:300]

    def close(self) -> None:
        """Move what is still in the pipe and close it. The file stays open."""
        for _ in range(64):  # a pipe holds 16 blocks; whatever still writes has no reader then
            if self._pipe < 0 or not self._readable():
                break
        self._end()

    def _readable(self) -> bool:
        try:
            data = os.read(self._pipe, BLOCK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end()
            return False
        self._file.write(data)
        self._heard_s = self._loop.time()
        self._tail = (self._tail + data)[-2000:]
        return True

    def _end(self) -> None:
        if self._pipe >= 0:
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1
