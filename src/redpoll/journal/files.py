"""The journal in files: what processes of one machine share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from redpoll.clock import Clock, SystemClock
from redpoll.facts import Entry
from redpoll.host.paths import DataDir
from redpoll.journal import formats, reader
from redpoll.journal.follower import FileFollower
from redpoll.journal.frames import Wanted
from redpoll.journal.layout import Layout, path_locked
from redpoll.journal.port import StreamState
from redpoll.journal.sync import GroupSync
from redpoll.journal.wal import WalReader
from redpoll.journal.writer import ROTATE_BYTES, ROTATE_US, FileWriter

__all__ = ["FileFollower", "FileJournal", "FileWriter", "GroupSync", "Journal"]


class FileJournal:
    """See :class:`redpoll.journal.port.Journal`. Nothing is opened or made until it is asked for."""

    def __init__(
        self,
        data_dir: DataDir | Path | str,
        clock: Clock | None = None,
        *,
        rotate_bytes: int = ROTATE_BYTES,
        rotate_us: int = ROTATE_US,
    ) -> None:
        self.layout = Layout(data_dir)
        self._clock = clock or SystemClock()
        self._rotate_bytes = rotate_bytes
        self._rotate_us = rotate_us

    def open(self, role: str, patient: bool = False) -> FileWriter:
        """A new stream; RP-300 where the disk refuses, RP-310 where a newer redpoll has written.

        ``patient``: then the stream takes no facts (RP-300) until a flush finds that the disk does.
        """
        formats.mark(self.layout.root)
        return FileWriter(
            self.layout,
            role,
            self._clock,
            rotate_bytes=self._rotate_bytes,
            rotate_us=self._rotate_us,
            patient=patient,
        )

    def streams(self) -> Sequence[StreamState]:
        """Streams with write-ahead files. Reads these files' headers: not for every tick."""
        formats.check(self.layout.root)
        states = []
        for stream, files in self.layout.wals().items():
            try:
                alive = path_locked(files[-1].path)
                last = WalReader(files[-1], Wanted(raw=False, kinds=frozenset()))
            except FileNotFoundError:
                continue  # sealed just now
            last.batch(1)
            last.close()
            states.append(StreamState(stream, alive, last.sequence, last.time_us))
        return states

    def read(
        self,
        cursors: Mapping[str, int] | None = None,
        *,
        kinds: Sequence[str] | None = None,
        models: Sequence[str] | None = None,
        raw: bool = True,
    ) -> Iterator[Entry]:
        """Facts behind the cursors, sealed and live, each position once."""
        return reader.read(self.layout, cursors or {}, kinds, models, raw)

    def follow(self, cursors: Mapping[str, int] | None = None) -> FileFollower:
        """Start following every stream behind the cursors."""
        return FileFollower(self.layout, cursors or {}, self._clock)


Journal = FileJournal
