"""How a request is refused, and the words for it."""

from __future__ import annotations

import difflib
import json
from typing import Any

RAW = object()  # the key under which a tensor has its raw bytes, which no JSON has


class BadRequest(Exception):
    """The client sent what the model cannot take: 400, RP-107 or another ``code``."""

    def __init__(self, message: str, code: str = "RP-107") -> None:
        super().__init__(message)
        self.code = code


def near(word: str, known: Any) -> str:
    """`` Did you mean 'age'?``, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {found[0]!r}?" if found else ""


def short(value: Any) -> str:
    """Write a value as JSON, cut to be part of a sentence."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:39] + "…"
