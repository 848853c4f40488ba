"""``redpoll log backup``: a copy of a data folder that :mod:`redpoll.archive.restore` takes back.

A backup is a folder: ``journal/`` (sealed and live files as they are), ``catalog.sqlite``,
``artifacts/`` and ``backup.json``, which names every file with size and checksum and is written last.
What can be made again (views, rows, the route table) is left out.

A server may run: what is appended meanwhile is in the backup up to some moment of the copy, and a
backup holds every fact that was synced before it began. A second backup into the same folder copies
only what is new; until it is finished, the one before is whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

import redpoll
from redpoll.clock import iso
from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir
from redpoll.journal import formats, trailer
from redpoll.journal.layout import Layout, must_exist, sync_folder
from redpoll.store.sqlite import copy_database

MANIFEST = "backup.json"
FORMAT = 1
LOOKS_MAX = 20
CHUNK = 1 << 20


class File(msgspec.Struct, frozen=True):
    """A file of a backup."""

    size: int
    crc: int  # crc32 of its bytes
    stamp: int = 0  # mtime (ns) of the original: it is copied again where that changed


class Manifest(msgspec.Struct, frozen=True):
    """What stands in ``backup.json``."""

    format: int
    redpoll: str  # the version that wrote it
    journal: int  # the journal's format
    began: str  # RFC 3339: facts from before are in it
    data_dir: str
    files: dict[str, File]  # by path, relative to the backup


class Made(NamedTuple):
    """What a backup is now."""

    files: int
    bytes: int
    copied_files: int
    copied_bytes: int
    damaged: tuple[
        str, ...
    ]  # sealed files that are damaged in the original; they are copied as they are


def backup(
    data_dir: DataDir | Path | str,
    to: Path,
    now_us: int,
    said: Callable[[int, int], None] | None = None,
) -> Made:
    """Make or bring up to date the backup in the folder ``to``.

    ``said(done, all)`` hears of each file. RP-302: no journal; RP-310: a newer redpoll's; RP-312: the
    folder holds something else, another folder's backup, or cannot be written.
    """
    data = data_dir if isinstance(data_dir, DataDir) else DataDir(data_dir)
    layout = Layout(data)
    must_exist(layout)
    form = formats.check(layout.root)
    _check_target(data, to)
    before = _before(to, data)
    with _as_ours(to):
        to.mkdir(parents=True, exist_ok=True)
        copy = _Copy(data, to, before, said or (lambda done, every: None))
        copy.journal(layout)
        copy.catalog()
        copy.artifacts()
        manifest = Manifest(
            format=FORMAT,
            redpoll=redpoll.__version__,
            journal=form,
            began=iso(now_us),
            data_dir=str(data.root),
            files=dict(sorted(copy.files.items())),
        )
        _write(to / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        copy.drop_others()
    return Made(
        files=len(copy.files),
        bytes=sum(one.size for one in copy.files.values()),
        copied_files=copy.copied_files,
        copied_bytes=copy.copied_bytes,
        damaged=tuple(copy.damaged),
    )


def read_manifest(folder: Path) -> Manifest:
    """RP-312 where it is no finished backup that we know."""
    path = folder / MANIFEST
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise RedpollError(
            "RP-312",
            f"{folder} is no backup, or one that was never finished: it has no {MANIFEST}.",
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise RedpollError("RP-312", f"{path} cannot be read: {error}.") from error
    if found.format > FORMAT:
        raise RedpollError(
            "RP-312",
            f"{folder} was made by a newer redpoll ({found.redpoll}); use that one to restore it.",
        )
    for name in found.files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise RedpollError("RP-312", f"{path} names {name!r}, which is outside of the backup.")
    return found


class _Copy:
    def __init__(
        self, data: DataDir, to: Path, before: dict[str, File], said: Callable[[int, int], None]
    ) -> None:
        self.files: dict[str, File] = {}
        self.copied_files = self.copied_bytes = 0
        self.damaged: list[str] = []
        self._data = data
        self._to = to
        self._before = before
        self._said = said
        self._made: set[str] = set()  # new under a temporary name

    def journal(self, layout: Layout) -> None:
        """Until everything that is listed is copied: files are sealed and merged meanwhile."""
        for _ in range(LOOKS_MAX):
            # Live ones first: what has gone from there is in the segments that are listed next.
            live = [Path(wal.path) for files in layout.wals().values() for wal in files]
            live += layout.wal.glob("*.bad")
            copied = {self._name(path) for path in live if self._file(path, live=True)}
            sealed = [Path(segment.path) for segment in layout.segments()]
            every = 1
            for done, path in enumerate(sealed):
                every &= self._file(path, live=False)
                self._said(done + 1, len(sealed))
            wanted = copied | {self._name(path) for path in sealed}
            self.files = {name: one for name, one in self.files.items() if name in wanted}
            if every:
                break
        else:
            raise RedpollError("RP-312", "The journal changed faster than it could be copied.")
        mark = layout.root / formats.MARK
        if mark.exists():
            self._file(mark, live=True)

    def catalog(self) -> None:
        """By SQLite itself, so that a change is in it whole or not at all."""
        if self._data.catalog.is_file():
            hidden = self._to / f".catalog.{os.getpid()}"
            try:
                copy_database(self._data.catalog, hidden)
                self._put(hidden, "catalog.sqlite", File(*_measure(hidden)))
            finally:
                hidden.unlink(missing_ok=True)

    def artifacts(self) -> None:
        """Model files; their names are their digests, so they never change."""
        for path in sorted(self._data.artifacts.glob("[0-9a-f]*")):
            if path.is_file():
                self._file(path, live=False)

    def drop_others(self) -> None:
        """What the finished backup does not name: merged, sealed, or removed since the one before."""
        keep = {self._to / name for name in (*self.files, MANIFEST)}
        for path in sorted(self._to.rglob("*"), reverse=True):
            if path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()  # where it is empty
            elif path not in keep:
                path.unlink()

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._data.root))

    def _file(self, path: Path, live: bool) -> bool:
        """Copy one; False where it has gone. ``live``: it may grow."""
        name = self._name(path)
        try:
            found = path.stat()
        except FileNotFoundError:
            return False
        known = self.files.get(name) or self._before.get(name)
        if known is not None and (known.size, known.stamp) == (found.st_size, found.st_mtime_ns):
            with contextlib.suppress(OSError):
                if (self._to / name).stat().st_size == known.size:
                    self.files[name] = known
                    return True
        hidden = self._to / f".copy.{os.getpid()}"
        try:
            size, crc = _copy(path, hidden, found.st_size if live else None)
            self._put(hidden, name, File(size, crc, found.st_mtime_ns))
        except FileNotFoundError:
            if path.exists():
                raise
            return False
        finally:
            hidden.unlink(missing_ok=True)
        if path.suffix == ".parquet":
            why = trailer.problem(self._to / name)
            if why:
                self.damaged.append(f"{name}: {why}")
        return True

    def _put(self, hidden: Path, name: str, file: File) -> None:
        target = self._to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden.replace(target)
        sync_folder(target.parent)
        self.files[name] = file
        self.copied_files += 1
        self.copied_bytes += file.size


def _check_target(data: DataDir, to: Path) -> None:
    inside = to.resolve()
    if inside == data.root or data.root in inside.parents or inside in data.root.parents:
        raise RedpollError(
            "RP-312",
            f"{to} and the data folder {data.root} contain one another; name another folder.",
        )


def _before(to: Path, data: DataDir) -> dict[str, File]:
    """Files of the backup that is in the folder already."""
    if not to.exists():
        return {}
    if not (to / MANIFEST).exists():
        left = [path for path in to.iterdir() if not path.name.startswith((".copy.", ".catalog."))]
        if to.is_dir() and all(
            path.name in ("journal", "artifacts", "catalog.sqlite") for path in left
        ):
            return {}  # one that was never finished
        raise RedpollError(
            "RP-312", f"{to} is there and is no backup; name a new folder, or one with a backup."
        )
    found = read_manifest(to)
    if found.data_dir != str(data.root):
        raise RedpollError(
            "RP-312",
            f"{to} holds a backup of {found.data_dir}, and this is {data.root}; name another folder.",
        )
    return found.files


@contextlib.contextmanager
def _as_ours(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RedpollError(
            "RP-312",
            f"The backup in {to} could not be finished: {error}; see to it, and run it again.",
        ) from error


def _copy(source: Path, target: Path, size: int | None) -> tuple[int, int]:
    """Copy and sync; how many bytes, and their crc32. ``size``: no more than that."""
    crc = done = 0
    with source.open("rb") as read, target.open("wb") as write:
        while size is None or done < size:
            chunk = read.read(CHUNK if size is None else min(CHUNK, size - done))
            if not chunk:
                break
            write.write(chunk)
            crc = crc32(chunk, crc)
            done += len(chunk)
        write.flush()
        os.fsync(write.fileno())
    return done, crc


def _measure(path: Path) -> tuple[int, int]:
    crc = size = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            crc = crc32(chunk, crc)
            size += len(chunk)
        os.fsync(file.fileno())
    return size, crc


def _write(path: Path, content: bytes) -> None:
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    with hidden.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    hidden.replace(path)
    sync_folder(path.parent)


def matches(path: Path, file: File) -> str:
    """Why a file of a backup is not as it was written; empty: it is."""
    try:
        size, crc = _measure(path)
    except FileNotFoundError:
        return "it is missing"
    if size != file.size:
        return f"it has {size} bytes, and had {file.size}"
    return "" if crc == file.crc else "its bytes are not those that were copied (checksum)"
