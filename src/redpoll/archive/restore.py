"""``redpoll log restore``: a data folder from a backup."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from redpoll.archive.backup import MANIFEST, Manifest, matches, read_manifest
from redpoll.errors import RedpollError
from redpoll.host.lock import acquire
from redpoll.host.paths import DataDir
from redpoll.journal import formats
from redpoll.journal.layout import sync_folder

PARTS = ("journal", "artifacts", "catalog.sqlite")


class Restored(NamedTuple):
    """What came back."""

    files: int
    bytes: int
    began: str  # when the backup was begun: later facts are not in it


def restore(
    source: Path,
    data_dir: DataDir | Path | str,
    said: Callable[[int, int], None] | None = None,
) -> Restored:
    """Put a backup into a data folder that has no journal and no catalog.

    Every file is compared with its checksum before anything gets its place, and all parts come to
    their places at the end: a restore that fails leaves the folder as it was.

    RP-301: a server runs there; RP-310: the backup is of a newer format; RP-312: it is no backup, is
    damaged, or the folder is in use.
    """
    data = data_dir if isinstance(data_dir, DataDir) else DataDir(data_dir)
    manifest = read_manifest(source)
    if manifest.journal > formats.FORMAT:
        raise formats.newer(source, manifest.journal)
    taken = [name for name in PARTS if _holds(data.root / name)]
    if taken:
        raise RedpollError(
            "RP-312",
            f"{data.root} has {' and '.join(taken)} already, and nothing is written over; move that"
            " folder away, or name another one with --data-dir.",
        )
    hidden = data.root / f".restore.{os.getpid()}"
    try:
        with acquire(data.lock):
            try:
                _check(source, manifest)
                _copy_all(source, manifest, hidden, said or (lambda done, every: None))
                _place(hidden, data)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
    except OSError as error:
        raise RedpollError("RP-312", f"{data.root} could not be restored: {error}.") from error
    return Restored(
        files=len(manifest.files),
        bytes=sum(file.size for file in manifest.files.values()),
        began=manifest.began,
    )


def _holds(path: Path) -> bool:
    """Whether a file is there, or a folder with a file in it."""
    if path.is_dir():
        return any(not one.is_dir() for one in path.rglob("*"))
    return path.exists()


def _check(source: Path, manifest: Manifest) -> None:
    wrong = [
        f"{name}: {why}"
        for name, file in manifest.files.items()
        if (why := matches(source / name, file))
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise RedpollError(
            "RP-312",
            f"The backup {source} is damaged, and nothing was restored: {'; '.join(wrong[:5])}{more}."
            f" Take another one; or remove these names from {MANIFEST} to restore without them.",
        )


def _copy_all(
    source: Path, manifest: Manifest, hidden: Path, said: Callable[[int, int], None]
) -> None:
    hidden.mkdir(parents=True)
    for done, (name, file) in enumerate(manifest.files.items()):
        target = hidden / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
        with target.open("rb") as copied:
            os.fsync(copied.fileno())
        why = matches(target, file)
        if why:
            raise RedpollError("RP-312", f"{target} was not written as it was read: {why}.")
        said(done + 1, len(manifest.files))
    if (hidden / "catalog.sqlite").exists():
        (hidden / "catalog.sqlite").chmod(0o600)
    for folder in hidden.rglob("*"):
        if folder.is_dir():
            sync_folder(folder)


def _place(hidden: Path, data: DataDir) -> None:
    """The journal last: who finds one finds the rest. What was made of another one goes."""
    for folder in (data.views, data.root / "rows"):
        shutil.rmtree(folder, ignore_errors=True)
    data.routes.unlink(missing_ok=True)
    for name in reversed(PARTS):
        if (hidden / name).exists():
            target = data.root / name
            if target.is_dir():
                shutil.rmtree(target)  # folders without a file
            (hidden / name).rename(target)
    sync_folder(data.root)
    data.make()
