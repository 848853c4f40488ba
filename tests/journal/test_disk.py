"""Real full disks, read-only ones and slow ones, under writers."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from redpoll.clock import SimClock
from redpoll.errors import RedpollError
from redpoll.facts import Answer
from redpoll.journal import writer as writing
from redpoll.journal.files import FileJournal, GroupSync
from redpoll.journal.query import query
from redpoll.testing.journals import START_US, fill, request
from tests.journal.disks import fill_up, remount, small_disk
from tests.journal.support import sequences, wal_files


def test_a_full_disk_refuses_and_takes_the_rest_when_there_is_room(tmp_path: Path) -> None:
    """ENOSPC as the kernel says it, again and again: nothing is torn, nothing is there twice."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        stream = FileJournal(disk).open("gateway")
        expected = fill(stream, 5)
        for number in range(6):
            ballast = fill_up(disk)
            expected.append(stream.append("churn", request(number), b"x" * 9000, 1))
            with pytest.raises(RedpollError, match="No space left on device") as refused:
                stream.flush()
            assert (refused.value.code, refused.value.status) == ("RP-300", 503)
            found = sequences(disk)
            assert found == expected[: len(found)] and len(found) >= 10 + number
            os.truncate(ballast, max(0, ballast.stat().st_size - 12_288))
            stream.flush()
            assert sequences(disk) == expected
            ballast.unlink()
        stream.close()


def test_an_answer_is_taken_where_its_request_was_and_nothing_else(
    tmp_path: Path, monkeypatch
) -> None:
    """Past the bound: its body is left out, other facts are refused."""
    monkeypatch.setattr(writing, "BUFFER_BYTES_MAX", 5000)
    with small_disk(tmp_path / "disk", "256k") as disk:
        stream = FileJournal(disk).open("gateway")
        stream.append("churn", request(1), b"x" * 16_000, 1)
        ballast = fill_up(disk)
        with pytest.raises(RedpollError):
            stream.flush()
        with pytest.raises(RedpollError, match="takes no more facts"):
            stream.append("churn", request(2))
        stream.append("churn", Answer(request(1).prediction_id, "v1"), b"y" * 6000, 3)
        ballast.unlink()
        stream.flush()
        (first, second) = FileJournal(disk).read()
        assert len(first.raw) == 16_000 and isinstance(second.fact, Answer) and second.raw == b""
        stream.close()


def test_a_stream_that_found_no_room_begins_once_there_is(tmp_path: Path) -> None:
    """Patient: it takes nothing before, so nothing is older than its beginning."""
    clock = SimClock(START_US)
    with small_disk(tmp_path / "disk", "256k") as disk:
        (disk / "journal" / "wal").mkdir(parents=True)
        ballast = fill_up(disk)
        journal = FileJournal(disk, clock)
        with pytest.raises(RedpollError, match="could not be opened: No space"):
            journal.open("gateway")
        stream = journal.open("gateway", patient=True)
        for _ in range(2):
            with pytest.raises(RedpollError, match="takes no more facts"):
                stream.append("churn", request(1))
            with pytest.raises(RedpollError, match="takes no more facts"):
                stream.append("churn", Answer(request(1).prediction_id, "v1"))
            with pytest.raises(RedpollError, match="could not be opened"):
                stream.flush()
        assert wal_files(disk) == [] and not list(disk.rglob("*.tmp"))
        ballast.unlink()
        clock.advance(5_000_000)
        stream.flush()
        stream.append("churn", request(2))
        stream.close()
        (only,) = journal.read()
        assert (only.sequence, only.time_us) == (1, START_US + 5_000_000)


def test_a_read_only_disk_can_be_read_and_says_that_it_cannot_be_written(tmp_path: Path) -> None:
    """EROFS from the kernel."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        stream = FileJournal(disk).open("gateway")
        written = fill(stream, 5)
        stream.close()
        remount(disk, "ro")
        with pytest.raises(RedpollError, match="Read-only file system") as refused:
            FileJournal(disk).open("gateway")
        assert refused.value.code == "RP-300" and str(disk) in refused.value.message
        assert sequences(disk) == written
        assert query(disk, "SELECT count(*) FROM request").rows == [(5,)]
        remount(disk, "rw")
        FileJournal(disk).open("gateway").close()


def test_a_slow_sync_holds_up_neither_the_loop_nor_the_next_facts(
    tmp_path: Path, monkeypatch
) -> None:
    """Syncs of a quarter second, one at a time, in their thread; how far behind can be seen."""
    stream = FileJournal(tmp_path, rotate_bytes=20_000).open("gateway")
    stream.sync()
    running: list[int] = []
    most = [0]
    real = os.fdatasync

    def slow(descriptor: int) -> None:
        running.append(threading.get_ident())
        most[0] = max(most[0], len(running))
        time.sleep(0.25)
        real(descriptor)
        running.pop()

    monkeypatch.setattr(writing.os, "fdatasync", slow)

    async def live() -> tuple[float, float, int]:
        sync = GroupSync(stream, interval_s=0.01)
        loop = asyncio.get_running_loop()
        sync.start(loop)
        longest = behind = 0.0
        end = loop.time() + 1.2
        number = 0
        while loop.time() < end:
            began = loop.time()
            number += 1
            stream.append("churn", request(number), b"x" * 500, 1)
            stream.flush()
            longest = max(longest, loop.time() - began)
            behind = max(behind, sync.behind_s)
            await asyncio.sleep(0.002)
        sync.stop()
        return longest, behind, number

    longest, behind, number = asyncio.run(live())
    assert longest < 0.2 and behind > 0.2, "the loop went on while the disk was slow"
    assert most == [1] and len(wal_files(tmp_path)) > 1
    monkeypatch.undo()
    stream.close()
    assert len(sequences(tmp_path)) == number > 50
