"""Where streams and segments lie on disk, and what their names say.

``<data_dir>/journal/wal/<stream>-<first>.wal`` while live, and
``<data_dir>/journal/<fact>/model=<model>/hour=<hour>/<stream>-<first>-<last>.parquet`` when sealed.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from redpoll import facts
from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir

WAL_SUFFIX = ".wal"
BAD_SUFFIX = ".wal.bad"  # a damaged file that the sealer has set aside, whole
LEDGER = "sealed.jsonl"
_SEGMENT = re.compile(r"(?P<stream>[a-z]+-[0-9a-f]{12})-(?P<first>\d+)-(?P<last>\d+)\.parquet\Z")
_WAL = re.compile(r"(?P<stream>[a-z]+-[0-9a-f]{12})-(?P<first>\d+)\.wal\Z")


class Wal(NamedTuple):
    """One write-ahead file."""

    stream: str
    first: int
    path: str


class Segment(NamedTuple):
    """One sealed file; ``first`` and ``last`` are positions of facts in it."""

    stream: str
    first: int
    last: int
    kind: str
    model: str
    hour: str
    path: str


class Layout:
    """The journal's folders in a data folder."""

    def __init__(self, data_dir: DataDir | Path | str) -> None:
        data = data_dir if isinstance(data_dir, DataDir) else DataDir(data_dir)
        self.data = data
        self.root = data.journal
        self.wal = data.wal
        self.ledger = self.wal / LEDGER

    def wal_path(self, stream: str, first: int) -> Path:
        """Where a stream's file that begins with sequence ``first`` lies."""
        return self.wal / f"{stream}-{first}{WAL_SUFFIX}"

    def segment_path(self, segment: Segment) -> Path:
        """Where a segment belongs, by its fields (its own ``path`` is not looked at)."""
        name = f"{segment.stream}-{segment.first}-{segment.last}.parquet"
        return self.partition(segment.kind, segment.model, segment.hour) / name

    def partition(self, kind: str, model: str, hour: str) -> Path:
        """The folder of one fact, model and hour."""
        return self.root / kind / f"model={quote(model, safe='')}" / f"hour={hour}"

    def wals(self) -> dict[str, list[Wal]]:
        """Every stream's write-ahead files, streams by name, files by their first sequence."""
        found: dict[str, list[Wal]] = {}
        for entry in _scan(self.wal):
            match = _WAL.match(entry.name)
            if match:
                wal = Wal(match["stream"], int(match["first"]), entry.path)
                found.setdefault(wal.stream, []).append(wal)
        for files in found.values():
            files.sort(key=lambda wal: wal.first)
        return dict(sorted(found.items()))

    def segments(
        self,
        kinds: Sequence[str] | None = None,
        models: Sequence[str] | None = None,
        *,
        role: str | None = None,
        since_hour: str = "",
    ) -> list[Segment]:
        """All sealed files of these facts and models, written in ``since_hour`` or later.

        ``role`` keeps only streams of one role.
        """
        found: list[Segment] = []
        for kind in facts.NAMES if kinds is None else kinds:
            for quoted, folder in _partitions(self.root / kind, "model="):
                model = unquote(quoted)
                if models is not None and model not in models:
                    continue
                for hour, hour_folder in _partitions(folder, "hour="):
                    if hour >= since_hour:
                        found += _segments_of(hour_folder, kind, model, hour, role)
        return found

    def segments_in(self, kind: str, model: str, hour: str) -> list[Segment]:
        """The sealed files of one partition."""
        return list(_segments_of(str(self.partition(kind, model, hour)), kind, model, hour, None))

    def segment_of(self, relative: str) -> Segment | None:
        """The segment of a path relative to the journal's folder; None where it is none."""
        parts = relative.split("/")
        match = _SEGMENT.match(parts[-1])
        if len(parts) != 4 or match is None:
            return None
        kind, model, hour = (
            parts[0],
            unquote(parts[1].removeprefix("model=")),
            parts[2][len("hour=") :],
        )
        first, last = int(match["first"]), int(match["last"])
        return Segment(match["stream"], first, last, kind, model, hour, str(self.root / relative))


def must_exist(layout: Layout) -> None:
    """RP-302 where a data folder has no journal."""
    if not layout.root.is_dir():
        raise RedpollError(
            "RP-302",
            f"There is no log in {layout.data.root}: it has no folder 'journal'; give the data"
            " folder of a redpoll server (--data-dir, or data_dir in redpoll.toml).",
        )


def locked(descriptor: int) -> bool:
    """Whether a writer holds this file.

    Asking never gets into a writer's way: files get their lock before they get their name.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def path_locked(path: str) -> bool:
    """The same for a path; ``FileNotFoundError`` where it is gone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return locked(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def steady(layout: Layout) -> Iterator[None]:
    """While inside, the sealed files that are listed stay where they are (merging waits a while).

    Two doors, one behind the other: who waits at the first keeps nobody who waits at the second.
    """
    with ExitStack() as doors:
        try:
            for folder in (layout.root, layout.wal):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                doors.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if folder is layout.root:
                    first = descriptor
            fcntl.flock(first, fcntl.LOCK_UN)
        except OSError:
            pass  # nobody merges where there is no such folder, or no locks
        yield


def sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _scan(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _partitions(folder: Path | str, prefix: str) -> Iterable[tuple[str, str]]:
    for entry in _scan(folder):
        if entry.name.startswith(prefix):
            yield entry.name[len(prefix) :], entry.path


def _segments_of(
    folder: str, kind: str, model: str, hour: str, role: str | None
) -> Iterable[Segment]:
    for entry in _scan(folder):
        match = _SEGMENT.match(entry.name)
        if match and (role is None or match["stream"].startswith(f"{role}-")):
            first, last = int(match["first"]), int(match["last"])
            yield Segment(match["stream"], first, last, kind, model, hour, entry.path)
