"""Helpers of the journal's tests."""

from __future__ import annotations

from pathlib import Path

from redpoll.facts import Entry
from redpoll.journal.files import FileJournal
from redpoll.journal.layout import Layout


def wal_files(folder: Path) -> list[Path]:
    """All write-ahead files, by stream and first sequence."""
    return [Path(wal.path) for files in Layout(folder).wals().values() for wal in files]


def sequences(folder: Path) -> list[int]:
    """What is readable, of a folder with one stream."""
    return [entry.sequence for entry in FileJournal(folder).read()]


def positions(entries: list[Entry]) -> list[tuple[str, int]]:
    """Where facts stand."""
    return [(entry.stream, entry.sequence) for entry in entries]
