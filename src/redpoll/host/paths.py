"""Where everything lies in a data folder. The names are public (docs/reference.md)."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

SOCKET_PATH_MAX = 100  # bytes; Linux takes 107


class DataDir:
    """A data folder and the paths in it."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()
        self.catalog = self.root / "catalog.sqlite"
        self.journal = self.root / "journal"
        self.wal = self.journal / "wal"
        self.rows = self.root / "rows"  # typed, made of the journal: may be deleted
        self.views = self.root / "views"
        self.artifacts = self.root / "artifacts"
        self.run = self.root / "run"
        self.routes = self.run / "routes.json"
        self.server = self.run / "server.json"  # addresses, pids; what a CLI needs to find us
        self.workers = self.run / "workers.json"
        self.metrics = self.run / "metrics"
        self.logs = self.run / "logs"  # workers' stderr, bounded
        self.lock = self.run / "lock"
        self.reserve = self.run / "reserve"  # room for a start on a full disk

    def make(self) -> DataDir:
        """Create the folders that are missing."""
        for folder in (self.wal, self.views, self.artifacts, self.metrics, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        return self

    def socket(self, model_number: int, version: str, index: int, declaration: str) -> str:
        """A worker's Unix socket; in the system's temporary folder where ours is too deep.

        ``declaration`` is of the model that the worker was told: one that was told another answers
        elsewhere, so that nobody asks it by the words of the first.
        """
        digest = hashlib.sha256(version.encode()).hexdigest()[:10]
        name = f"{model_number}-{digest}-{declaration}-{index}.sock"
        path = str(self.run / name)
        if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
            return path
        root = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return str(Path(tempfile.gettempdir()) / f"redpoll-{os.getuid()}-{root}" / name)

    def stderr(self, model: str, version: str, index: int) -> Path:
        """The bounded file that a worker's stderr goes to."""
        return self.logs / f"{model}--{version}--{index}.log"


def replace(path: Path, content: bytes) -> None:
    """Write a file whole: a temporary name beside it, then a rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk needs the room
        raise
