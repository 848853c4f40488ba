"""The catalog in SQLite: ``<data_dir>/catalog.sqlite``, one row a revision.

Every revision is kept whole: a catalog is some kilobytes, a change of it a few a day, and so "what
did the catalog say then, and who changed it" is one look-up.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redpoll.errors import RedpollError
from redpoll.store.port import (
    Catalog,
    Change,
    check_successor,
    decode,
    encode,
    stale,
    unknown_revision,
)

FORMAT = 1  # PRAGMA user_version
WAIT_S = 10.0  # for another process's write; a write takes milliseconds

_SCHEMA = """
CREATE TABLE IF NOT EXISTS revision (
    revision INTEGER PRIMARY KEY,
    time_us INTEGER NOT NULL,
    actor TEXT NOT NULL,
    what TEXT NOT NULL,
    document BLOB NOT NULL
) STRICT
"""


def copy_database(source: Path, target: Path) -> None:
    """A whole copy of a catalog, as it is at one moment; RP-004 where it cannot be read."""
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
            ) as read,
            contextlib.closing(sqlite3.connect(target)) as write,
        ):
            read.backup(write)
            write.execute("PRAGMA journal_mode = DELETE")  # one file, all of it
    except sqlite3.Error as error:
        raise RedpollError(
            "RP-004", f"the catalog {source} could not be copied: {error}; check the disk"
        ) from error


class SqliteStore:
    """A store on a file. One connection, behind a lock; WAL, so readers never wait for a writer."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        with self._errors():
            self._make_private()
            self._db = sqlite3.connect(
                self.path, timeout=WAIT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _make_private(self) -> None:
        """The file is its owner's alone; SQLite gives its WAL the same rights.

        A file that exists is not opened here: closing it again would drop the POSIX locks that
        another connection of this process holds on it (sqlite.org/howtocorrupt.html, 2.2).
        """
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise sqlite3.OperationalError(error.strerror) from error

    def _prepare(self) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > FORMAT:
            raise RedpollError(
                "RP-004",
                f"{self.path} was written by a newer redpoll (format {found}, this one knows "
                f"{FORMAT}); start that one",
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # an intention that was taken is not lost
        if found < FORMAT:
            # One transaction: of two processes that come first at once, the other finds it done.
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {FORMAT}")
            self._db.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """The one door through which SQLite's errors enter: they leave as RP-004."""
        try:
            yield
        except sqlite3.Error as error:
            raise RedpollError(
                "RP-004",
                f"the catalog {self.path} cannot be used: {error}; check the disk, the rights of "
                "the folder, and that nothing else holds the file",
            ) from error

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            self._db.execute(f"BEGIN {kind}")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def read(self) -> Catalog:
        """The newest revision."""
        with self._transaction("DEFERRED") as db:
            return self._newest(db)

    def write(
        self, catalog: Catalog, expected_revision: int, *, actor: str, what: str, time_us: int
    ) -> int:
        """Keep the next revision; RP-401 where another one came first."""
        # IMMEDIATE takes the write lock before reading: between the look and the write is nobody.
        with self._transaction("IMMEDIATE") as db:
            newest = self._newest(db)
            if newest.revision != expected_revision:
                raise stale(expected_revision, newest.revision)
            check_successor(newest, catalog)
            revision = newest.revision + 1
            db.execute(
                "INSERT INTO revision VALUES (?, ?, ?, ?, ?)",
                (revision, time_us, actor, what, encode(catalog, revision)),
            )
            return revision

    def at(self, revision: int) -> Catalog:
        """An earlier revision."""
        if revision == 0:
            return Catalog()
        with self._transaction("DEFERRED") as db:
            row = db.execute(
                "SELECT document FROM revision WHERE revision = ?", (revision,)
            ).fetchone()
            if row is None:
                raise unknown_revision(revision)
            return decode(row[0], str(self.path))

    def history(self, limit: int = 100) -> tuple[Change, ...]:
        """The newest changes first."""
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT revision, time_us, actor, what FROM revision "
                "ORDER BY revision DESC LIMIT ?",
                (max(0, limit),),
            ).fetchall()
        return tuple(
            Change(revision=revision, time_us=time_us, actor=actor, what=what)
            for revision, time_us, actor, what in rows
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._errors():
            self._db.close()

    def _newest(self, db: sqlite3.Connection) -> Catalog:
        row = db.execute("SELECT document FROM revision ORDER BY revision DESC LIMIT 1").fetchone()
        return decode(row[0], str(self.path)) if row else Catalog()
