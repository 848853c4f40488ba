r"""What a sealed file says of itself: a checksum of all its bytes, and where its facts come from.

The checksum stands between the last column and Parquet's footer, where no reader looks: 12 bytes
``redpoll crc\\n`` and the crc32 of everything else. Parquet's own page checksums would leave the
footer unguarded, and few engines look at them.

The footer's key-value metadata hold ``redpoll``: JSON with ``format`` and ``wals``, for each
write-ahead file that gave facts ``[first, last, facts]``: its first and last sequence, and how many
facts it gave to all sealed files together. So whoever reads a stream can tell that none is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

from redpoll.journal.formats import FORMAT

MARK = b"redpoll crc\n"
GAP_BYTES = len(MARK) + 4
KEY = b"redpoll"
_END = 8  # the footer's length, and b"PAR1"
_CHUNK = 1 << 20


class Origin(NamedTuple):
    """A write-ahead file that was sealed."""

    first: int
    last: int  # beats included
    facts: int  # in all segments that were made of it


class About(NamedTuple):
    """What a sealed file's footer says."""

    format: int
    wals: tuple[Origin, ...]


def metadata(origins: Iterable[Origin]) -> dict[bytes, bytes]:
    """Key-value metadata for a file of our format."""
    said = {"format": FORMAT, "wals": [list(one) for one in origins]}
    return {KEY: json.dumps(said, separators=(",", ":")).encode()}


def about(found: dict[bytes, bytes] | None) -> About:
    """What a file's key-value metadata say; format 1 where they say nothing."""
    try:
        said = json.loads((found or {})[KEY])
        return About(int(said["format"]), tuple(Origin(*map(int, one)) for one in said["wals"]))
    except (KeyError, ValueError, TypeError):
        return About(1, ())


def guard(file: BinaryIO) -> None:
    """Put the checksum into a finished Parquet file that is open for reading and writing."""
    size = file.seek(0, os.SEEK_END)
    file.seek(size - _END)
    footer_bytes = int.from_bytes(file.read(4), "little") + _END
    at = size - footer_bytes
    file.seek(at)
    footer = file.read(footer_bytes)
    crc = crc32(footer, _crc(file, at))
    file.seek(at)
    file.write(MARK + crc.to_bytes(4, "little") + footer)


def problem(path: Path | str) -> str:
    """Why a sealed file's bytes are not those that were written; empty: they are.

    A file of format 1 has no checksum, and nothing is said of it here.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < _END + 4:
            return f"it has {size} bytes, too few for Parquet"
        file.seek(size - _END)
        end = file.read(_END)
        at = size - _END - int.from_bytes(end[:4], "little")
        if end[4:] != b"PAR1" or at < 4:
            return f"its end (from byte {size - _END} on) is not that of a Parquet file"
        if at < 4 + GAP_BYTES:
            return ""
        file.seek(at - GAP_BYTES)
        gap = file.read(GAP_BYTES)
        if not gap.startswith(MARK):
            return ""
        footer = file.read()
        if crc32(footer, _crc(file, at - GAP_BYTES)) != int.from_bytes(gap[-4:], "little"):
            return f"its {size} bytes are not those that were written (checksum)"
    return ""


def guarded(path: Path | str) -> bool:
    """Whether a file has the checksum."""
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END))
        at = size - _END - int.from_bytes(file.read(4), "little")
        if at < GAP_BYTES:
            return False
        file.seek(at - GAP_BYTES)
        return file.read(len(MARK)) == MARK


def _crc(file: BinaryIO, size: int) -> int:
    """Of a file's first bytes."""
    file.seek(0)
    crc = 0
    while size > 0:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            break
        crc = crc32(chunk, crc)
        size -= len(chunk)
    return crc
