"""Journals as older redpolls wrote them, packed: ``tests/golden/journal-<format>.tar.gz``."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

GOLDEN = Path(__file__).parents[1] / "golden"


class Old(NamedTuple):
    """A data folder, and every fact in it: stream, sequence, time, schema, model, kind, fields."""

    folder: Path
    facts: list[list[Any]]


def unpack(version: int, folder: Path) -> Old:
    """An old data folder, to be done with as one likes."""
    with tarfile.open(GOLDEN / f"journal-{version}.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    found = folder / f"journal-{version}"
    lines = (found / "facts.jsonl").read_text().splitlines()
    return Old(found, [json.loads(line) for line in lines])
