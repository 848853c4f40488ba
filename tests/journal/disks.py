"""Disks that are full or read-only, in as many ways as this machine lets us make them.

``tmpfs``: a real small file system of our own, where we may mount one. ``limit``: the kernel refuses
every further byte of any file to one process (``RLIMIT_FSIZE``); that anybody may do anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

NOBODY = 65534


class Disk(Protocol):
    """A folder on a disk that can be full for us, or for another process."""

    folder: Path

    def fill(self, pid: int = 0, most: int = 0) -> None:
        """From now on no byte more is taken (``limit``: beyond ``most`` bytes of each file)."""

    def leave(self, path: Path, size: int) -> None:
        """A file may grow by about this many bytes (whole blocks on a real disk), and no more."""

    def free(self, pid: int = 0) -> None:
        """There is room again."""

    def spare_us(self) -> None:
        """It stays full for those who were started on it; we need not write anything there."""


class Tmpfs:
    """Filled up by a file that takes all the room."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, pid: int = 0, most: int = 0) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 16, 4096, 1):
                try:
                    while True:
                        file.write(b"\1" * size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error

    def leave(self, path: Path, size: int) -> None:
        os.truncate(self._ballast, max(0, self._ballast.stat().st_size - size))

    def free(self, pid: int = 0) -> None:
        self._ballast.unlink(missing_ok=True)

    def spare_us(self) -> None:
        return


class Limited:
    """Files of ordinary disk, and a process that may not write to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, pid: int = 0, most: int = 0) -> None:
        self._most(pid, most)

    def leave(self, path: Path, size: int) -> None:
        self._most(0, path.stat().st_size + size)

    def free(self, pid: int = 0) -> None:
        self._most(pid, resource.RLIM_INFINITY)

    def spare_us(self) -> None:
        self.free()

    def _most(self, pid: int, size: int) -> None:
        """The soft limit only, which anybody may raise again."""
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def small_disk(how: str, folder: Path, size: str) -> Iterator[Disk]:
    """A disk at ``folder``, ``how`` being one of :data:`WAYS`; ``size`` matters where it is real."""
    folder.mkdir(parents=True, exist_ok=True)
    if how == "limit":
        try:
            yield Limited(folder)
        finally:
            Limited(folder).free()
        return
    with mounted(folder, size):
        yield Tmpfs(folder)


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A tmpfs at a folder."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _may_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder), "64k"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


WAYS = ("limit", "tmpfs") if _may_mount() else ("limit",)


@contextmanager
def read_only(how: str, disk: Disk) -> Iterator[str]:
    """While nothing can be written below the folder; gives the kernel's words for it.

    ``limit``: by rights, as another user where we are root. Nobody may have a file open for writing.
    """
    if how == "tmpfs":
        subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
        try:
            yield "Read-only file system"
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(disk.folder)], check=True)
        return
    paths = [disk.folder, *disk.folder.rglob("*")]
    rights = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    try:
        with contextlib.ExitStack() as stack:
            if root:
                os.seteuid(NOBODY)
                stack.callback(os.seteuid, 0)
            yield "Permission denied"
    finally:
        for path, mode in rights.items():
            path.chmod(mode)
