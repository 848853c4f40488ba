"""Room on the disk that is kept, so that a server can start where there is none left.

A file of zeros, written out. Who starts on a full disk lets it go: the small files in ``run/`` and
the first bytes of each stream find room then, and whoever answers can say that the disk is full.
"""

from __future__ import annotations

import os

from redpoll.host.paths import DataDir

RESERVE_BYTES = 1 << 20
TIGHT_BYTES = 1 << 20  # less than that free: let it go
AMPLE_BYTES = 16 << 20  # more than that free: take it


def keep(data: DataDir) -> None:
    """Have the reserve, if the disk has plenty. Cheap where it is there already."""
    if data.reserve.exists() or _free(data) < AMPLE_BYTES:
        return
    descriptor = os.open(data.reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
    except OSError:
        data.reserve.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def release_if_full(data: DataDir) -> None:
    """Make room for what a start must write, where there is none."""
    if data.reserve.exists() and _free(data) < TIGHT_BYTES:
        data.reserve.unlink(missing_ok=True)


def _free(data: DataDir) -> int:
    found = os.statvfs(data.run)
    return found.f_bavail * found.f_frsize
