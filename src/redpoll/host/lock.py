"""One server on a data folder: an exclusive ``flock`` that the kernel drops with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType

from redpoll.errors import RedpollError


class FileLock:
    """A held lock. It is not inherited by children that are started with ``exec``."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def release(self) -> None:
        """Let go; a second call does nothing. The file stays: removing it would race."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def acquire(path: Path) -> FileLock:
    """Take the lock at once or raise ``RedpollError`` RP-301, which names the holder's pid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        if not isinstance(error, BlockingIOError):
            raise
        who = f"process {pid}" if pid else "another process"
        raise RedpollError(
            "RP-301",
            f"{path.parent.parent} is in use: {who} serves from it; one folder takes one server. "
            f"Stop that one{f' (kill {pid})' if pid else ''}, or set another data_dir.",
        ) from None
    with contextlib.suppress(OSError):  # a full disk: who holds it is a courtesy
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return FileLock(path, fd)


def held(path: Path) -> bool:
    """Whether some process holds the lock now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
