"""The catalog store's twin in memory: for tests and simulations."""

from __future__ import annotations

import threading

from redpoll.store.port import (
    Catalog,
    Change,
    check_successor,
    decode,
    encode,
    stale,
    unknown_revision,
)


class MemoryStore:
    """Keeps every revision as its document, so that what is read is never what was written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._documents: list[bytes] = []
        self._changes: list[Change] = []

    def read(self) -> Catalog:
        """The newest revision."""
        with self._lock:
            return self._newest()

    def write(
        self, catalog: Catalog, expected_revision: int, *, actor: str, what: str, time_us: int
    ) -> int:
        """Keep the next revision; RP-401 where another one came first."""
        with self._lock:
            newest = self._newest()
            if newest.revision != expected_revision:
                raise stale(expected_revision, newest.revision)
            check_successor(newest, catalog)
            revision = newest.revision + 1
            self._documents.append(encode(catalog, revision))
            self._changes.append(Change(revision=revision, time_us=time_us, actor=actor, what=what))
            return revision

    def at(self, revision: int) -> Catalog:
        """An earlier revision."""
        with self._lock:
            if revision == 0:
                return Catalog()
            if not 1 <= revision <= len(self._documents):
                raise unknown_revision(revision)
            return decode(self._documents[revision - 1], "memory")

    def history(self, limit: int = 100) -> tuple[Change, ...]:
        """The newest changes first."""
        with self._lock:
            return tuple(reversed(self._changes[-limit:])) if limit > 0 else ()

    def close(self) -> None:
        """Nothing is held."""

    def _newest(self) -> Catalog:
        return decode(self._documents[-1], "memory") if self._documents else Catalog()
