"""Group sync: off the loop, on a timer, and it says when the disk refuses."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from redpoll.errors import RedpollError
from redpoll.journal import writer as writing
from redpoll.journal.files import FileJournal, GroupSync
from redpoll.testing.journals import request


def test_what_was_flushed_is_synced_in_another_thread(tmp_path: Path, monkeypatch) -> None:
    """Within a timer's tick; idle streams are left alone; rotated files are synced and closed."""
    journal = FileJournal(tmp_path, rotate_bytes=3000)
    stream = journal.open("gateway")
    stream.sync()
    threads: list[int] = []
    real = os.fdatasync

    def noted(descriptor: int) -> None:
        threads.append(threading.get_ident())
        real(descriptor)

    monkeypatch.setattr(writing.os, "fdatasync", noted)
    before = len(os.listdir("/proc/self/fd"))

    async def live() -> int:
        sync = GroupSync(stream, interval_s=0.01)
        sync.start(asyncio.get_running_loop())
        await asyncio.sleep(0.05)
        idle = len(threads)
        for number in range(30):
            stream.append("churn", request(number), b"x" * 200, 1)
            stream.flush()
            await asyncio.sleep(0.003)
        await asyncio.sleep(0.05)
        sync.stop()
        assert sync.failures == 0
        return idle

    assert asyncio.run(live()) == 0
    assert 2 <= len(threads) < 60
    assert threading.get_ident() not in threads
    assert len(os.listdir("/proc/self/fd")) <= before + 1, "rotated files are closed"
    assert len(list((tmp_path / "journal" / "wal").glob("*.wal"))) > 1
    stream.close()


def test_a_sync_that_fails_is_counted_and_the_next_is_tried(tmp_path: Path, monkeypatch) -> None:
    """The event loop goes on; ``sync`` itself raises RP-300."""
    stream = FileJournal(tmp_path).open("control")
    stream.sync()

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writing.os, "fdatasync", failing)
    stream.append("churn", request(1))
    with pytest.raises(RedpollError, match="could not be synced: Input/output error"):
        stream.sync()

    async def live() -> int:
        sync = GroupSync(stream, interval_s=0.01)
        sync.start(asyncio.get_running_loop())
        for number in range(2, 4):
            stream.append("churn", request(number))
            stream.flush()
            await asyncio.sleep(0.05)
        sync.stop()
        return sync.failures

    assert asyncio.run(live()) == 2
    monkeypatch.undo()
    stream.close()
    assert len(list(FileJournal(tmp_path).read())) == 3
