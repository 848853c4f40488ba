"""Reading a configuration file on behalf of somebody else."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from redpoll import config
from redpoll.catalog import Config
from redpoll.errors import RedpollError

if TYPE_CHECKING:
    from redpoll.control.service import Control


async def load(control: Control, path: Path) -> Config:
    """Read a file; model files whose copies are kept already may be gone from where they were.

    In a thread: a slow disk, or a file of many models, must not hold up the loop that decides.
    Raises ``ConfigError`` (RP-001) with everything that is wrong.
    """
    stored = {
        (model.name, version["name"])
        for model in control.overview().models
        for version in model.versions
        if version.get("fingerprint")
    }
    return await asyncio.to_thread(config.load, path, stored=stored)


def checked(given: str) -> Path:
    """Check a path that came over HTTP: the file it names can name code that the server will run.

    So it must be a file (or a folder with a ``redpoll.toml``) that only the server's user or root
    can write. Raises RP-101, RP-001 or RP-501.
    """
    path = Path(given)
    if "\0" in given or not path.is_absolute():
        raise RedpollError(
            "RP-101",
            f"path is {given[:200]!r}; it must be absolute, because the server's folder is not "
            "yours.",
        )
    if path.is_dir():
        path = path / config.NAME
    try:
        found = path.stat()
    except OSError as error:
        raise RedpollError(
            "RP-001", f"{path} cannot be read by the server: {error.strerror}."
        ) from error
    ours = found.st_uid in (os.getuid(), 0)
    if not ours or not stat.S_ISREG(found.st_mode) or found.st_mode & stat.S_IWOTH:
        raise RedpollError(
            "RP-501",
            f"{path} was not applied: a configuration names code that the server runs, so it must "
            "be a file of the server's user (or root) that not everyone can write; chown or chmod "
            "it.",
        )
    return path
