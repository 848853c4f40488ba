"""How far the sealer is behind: how long the oldest file that could be sealed has waited."""

from __future__ import annotations

from pathlib import Path

from redpoll.journal.layout import Layout


def behind_s(layout: Layout, now_s: float) -> float:
    """Seconds since the oldest finished write-ahead file was written to last; 0 where none waits.

    A stream's newest file does not count: it is being written, or (of a dead stream) due at once.
    """
    waited = [0.0]
    for files in layout.wals().values():
        for wal in files[:-1]:
            try:
                waited.append(now_s - Path(wal.path).stat().st_mtime)
            except FileNotFoundError:  # sealed just now
                continue
    return max(waited)
