"""What the sealer says of each file that it sealed: one JSON line in ``wal/sealed.jsonl``.

A line is written when a file's segments are in place and before the file goes: a follower that
finds a file gone finds its segments here, at a cost that grows with what is new and not with the
size of the log. The ledger can be lost: then the sealed files' names are read instead.
"""

from __future__ import annotations

import os

import msgspec

from redpoll.journal.layout import Layout


class Line(msgspec.Struct, frozen=True):
    """One sealed write-ahead file.

    ``segments`` are paths relative to the journal's folder. ``open`` are the requests of the
    stream, up to here, that have no live answer yet (see ``redpoll.sealer``), prediction id first.
    """

    stream: str
    first: int
    last: int  # the file's last sequence, empty frames included
    segments: tuple[str, ...] = ()
    open: tuple[tuple[str, str, str, int], ...] = ()  # prediction id, model, version, time (µs)


_decode = msgspec.json.Decoder(Line).decode


def encode(line: Line) -> bytes:
    """A line between line feeds: also behind one that a full disk has cut short."""
    return b"\n" + msgspec.json.encode(line) + b"\n"


class LedgerReader:
    """Follows the ledger from its present end on."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.ledger
        self._descriptor = self._open()  # held open, so that its inode is not given away again
        self._offset = 0 if self._descriptor is None else os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def news(self) -> list[Line] | None:
        """Lines since the last call; None where the ledger was made anew: look at everything."""
        if not self._same():
            self.close()
            self._descriptor, self._offset = self._open(), 0
            return None
        if self._descriptor is None:
            return []
        size = os.fstat(self._descriptor).st_size
        whole, feed, _ = os.pread(self._descriptor, size - self._offset, self._offset).rpartition(
            b"\n"
        )
        self._offset += len(whole) + len(feed)
        return parse(whole)

    def _open(self) -> int | None:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def _same(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return self._descriptor is None
        if self._descriptor is None:
            return False
        held = os.fstat(self._descriptor)
        return held.st_ino == found.st_ino and held.st_size >= self._offset


def parse(content: bytes) -> list[Line]:
    """The lines of a ledger; what is no line is passed over (a crash may leave a torn one)."""
    lines = []
    for raw in content.split(b"\n"):
        try:
            lines.append(_decode(raw))
        except msgspec.DecodeError:
            continue
    return lines
