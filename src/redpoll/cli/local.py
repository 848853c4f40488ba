"""Reading (and applying) without a server: the same answers, from the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redpoll.cli.remote import Remote
from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir


class Local(Remote):
    """The reading half of the API, over a data folder on which no server runs."""

    def __init__(self, data: DataDir) -> None:
        raise RedpollError("RP-603", f"no server runs on {data.root}; start it: redpoll serve")


def apply_to_files(path: Path, actor: str, dry_run: bool) -> list[dict[str, Any]]:
    """Apply a file with no server running."""
    raise RedpollError("RP-603", f"no server runs; start one with `redpoll serve -c {path}`")
