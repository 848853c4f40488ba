"""Errors that say what happened, why, and what to do; each code has a page (``redpoll explain``).

Every error that a person or a client can meet is a :class:`RedpollError` with a code from
:data:`CATALOG`. Adapters map foreign errors to these at their door.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from redpoll.error_codes import CATALOG as _CATALOG


class Known(NamedTuple):
    """One error code: its HTTP status (0: it never travels over HTTP), its name and its page."""

    status: int
    name: str
    explain: str


CATALOG: dict[str, Known] = {code: Known(*fields) for code, fields in _CATALOG.items()}


class RedpollError(Exception):
    """``code`` is a key of :data:`CATALOG`; the message reads: what happened; why; what to do."""

    def __init__(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return CATALOG[self.code].status or 500

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


def closest(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'canary'?`` or the empty string, to be put behind a message."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {found[0]!r}?" if found else ""
