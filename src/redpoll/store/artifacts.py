"""Model files, kept by their sha256: what a version answered with can always be found again.

A file is copied when its version is added: to a temporary name, synced, then renamed to
``artifacts/<sha256>``. So a name in the folder is always a whole file, and the bytes never change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from redpoll.catalog import Config, Model, Version
from redpoll.errors import RedpollError
from redpoll.store.port import Catalog

CHUNK = 1 << 20
MOST_FILES = 100_000  # side files of one version; a folder that large is a mistake


class Artifacts:
    """The folder ``<data_dir>/artifacts``."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, digest: str) -> Path:
        """Where the file of a digest is kept."""
        return self.root / digest

    def add(self, version: Version, *, copy: bool = True) -> Version:
        """The version with the digests of its files, which are kept from now on.

        ``copy=False`` only reads and hashes (a dry run). Raises RP-003 where a file is missing or
        cannot be read or kept.
        """
        artifact = None
        if version.file:
            artifact = self._keep(source(version), copy)
        sides = {name: self._keep(path, copy) for name, path in side_files(version)}
        return replace(version, artifact=artifact, file_digests=sides)

    def fill(self, config: Config, catalog: Catalog, *, copy: bool = True) -> Config:
        """The configuration with every version's digests.

        A version that the catalog knows and whose own files are gone keeps what was stored: the
        copies in ``artifacts`` are what runs.
        """
        return replace(
            config,
            models=tuple(self._fill_model(model, catalog, copy) for model in config.models),
        )

    def _fill_model(self, model: Model, catalog: Catalog, copy: bool) -> Model:
        stored = catalog.models.get(model.name)
        known = {version.name: version for version in stored.model.versions} if stored else {}
        versions = []
        for version in model.versions:
            before = known.get(version.name)
            if before and before.backend == version.backend and _gone(version):
                digests = {"artifact": before.artifact, "file_digests": before.file_digests}
                versions.append(replace(version, **digests))
            else:
                versions.append(self.add(version, copy=copy))
        return replace(model, versions=tuple(versions))

    def _keep(self, path: Path, copy: bool) -> str:
        try:
            if path.is_dir():
                return self._keep_folder(path, copy)
            return self._copy(path) if copy else _digest(path)
        except OSError as error:
            raise RedpollError(
                "RP-003",
                f"{path} cannot be kept in {self.root}: {error.strerror or error}; check that the "
                "file is there, and the disk has room",
            ) from error

    def _keep_folder(self, folder: Path, copy: bool) -> str:
        """A model folder, whole, under the digest of its files' names and digests."""
        files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
        digests = {name: _digest(path) for name, path in files.items()}
        whole = "".join(f"{name}\0{digest}\n" for name, digest in digests.items())
        digest = hashlib.sha256(whole.encode()).hexdigest()
        kept = self.path(digest)
        if not copy or kept.exists():
            return digest
        self.root.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        try:
            for name, path in files.items():
                target = made / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                if _digest(target) != digests[name]:
                    raise OSError(f"{name} changed while it was copied")
                with target.open("rb") as file:
                    os.fsync(file.fileno())
                target.chmod(0o444)
            made.chmod(0o755)
            made.replace(kept)
            _sync_folder(self.root)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            if not kept.exists():  # else somebody kept the same at the same time
                raise
        return digest

    def _copy(self, path: Path) -> str:
        self.root.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("rb") as source_file:
            handle, name = tempfile.mkstemp(prefix=".new-", dir=self.root)
            try:
                with os.fdopen(handle, "wb") as target:
                    while chunk := source_file.read(CHUNK):
                        digest.update(chunk)
                        target.write(chunk)
                    target.flush()
                    os.fsync(target.fileno())
                kept = self.path(digest.hexdigest())
                if kept.exists():
                    Path(name).unlink()
                else:
                    Path(name).chmod(0o444)
                    Path(name).replace(kept)
                    _sync_folder(self.root)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        return digest.hexdigest()


def source(version: Version) -> Path:
    """The model file of a version whose backend is ``<kind>:<file>``."""
    return Path(version.folder) / version.backend.partition(":")[2]


def side_files(version: Version) -> Iterator[tuple[str, Path]]:
    """Name (relative to the version's folder) and path of each side file; folders are walked."""
    for name in version.files:
        top = Path(version.folder) / name
        if not top.is_dir():
            yield name, top
            continue
        for path in _files(top):
            yield str(Path(name) / path.relative_to(top)), path


def _files(top: Path) -> Iterator[Path]:
    """The files of a folder, in order; RP-003 where they are too many to be a model's."""
    count = 0
    for path in sorted(top.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            count += 1
            if count > MOST_FILES:
                raise RedpollError(
                    "RP-003",
                    f"{top} holds more than {MOST_FILES} files; name only what the model reads",
                )
            yield path


def fingerprint(version: Version) -> str:
    """sha256 over the model file and the side files; empty where neither is known (URLs, code)."""
    if not version.file_digests:
        return version.artifact or ""
    parts = [version.artifact or "", *(f"{k}={v}" for k, v in sorted(version.file_digests.items()))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _gone(version: Version) -> bool:
    files = [Path(version.folder) / name for name in version.files]
    if version.file:
        files.append(source(version))
    return any(not path.exists() for path in files)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
