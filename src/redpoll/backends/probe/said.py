"""What the lookers share: columns as they are described, and the error of a file without any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# A value of each type, where the file remembers none.
EXAMPLES: dict[str, list[Any]] = {
    "int": [1],
    "float": [1.0],
    "bool": [True],
    "category": ["text"],
    "text": ["a few words"],
    "time": ["2026-01-01T00:00:00Z"],
    "": [],
}


class NoColumns(Exception):
    """The file loads, and is not asked by rows. ``todo``: what to do instead."""

    def __init__(self, why: str, todo: str) -> None:
        super().__init__(why)
        self.todo = todo


def columns_of(kinds: Sequence[str]) -> list[dict[str, Any]]:
    """A description of each column by its type alone."""
    return [{"type": kind, "values": list(EXAMPLES[kind])} for kind in kinds]
