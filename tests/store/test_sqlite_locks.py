"""SQLite's locks are the process's: whoever opens and closes its file by hand drops them all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from redpoll.store.sqlite import SqliteStore

WRITE = """
import sys
from redpoll.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
now = store.read()
store.write(now, now.revision, actor="another", what="process", time_us=1)
store.close()
"""


def test_a_second_store_in_a_process_does_not_drop_the_locks_of_the_first(tmp_path: Path) -> None:
    """Else another process takes itself for the last one, and removes the log under our feet."""
    path = tmp_path / "catalog.sqlite"
    first, second = SqliteStore(path), SqliteStore(path)
    assert first.read().revision == second.read().revision == 0
    for revision in (1, 2, 3):
        subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True, timeout=60)
        assert path.with_name("catalog.sqlite-wal").exists()
        assert first.read().revision == second.read().revision == revision
    first.close()
    second.close()
