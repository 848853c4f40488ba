"""Real full disks, read-only ones and slow ones, under writers."""

from __future__ import annotations

import asyncio
import os
import tempfile
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
from redpoll.sealer.service import Sealer
from redpoll.testing.journals import START_US, FilesHarness, fill, request
from tests.journal.disks import WAYS, read_only, small_disk
from tests.journal.support import sequences, wal_files

every_way = pytest.mark.parametrize("how", WAYS)


@every_way
def test_a_full_disk_refuses_and_takes_the_rest_when_there_is_room(
    how: str, tmp_path: Path
) -> None:
    """Refused by the kernel again and again: nothing is torn, nothing is there twice."""
    with small_disk(how, tmp_path / "disk", "1m") as disk:
        stream = FileJournal(disk.folder).open("gateway")
        expected = fill(stream, 5)
        for number in range(6):
            disk.fill()
            expected.append(stream.append("churn", request(number), b"x" * 9000, 1))
            with pytest.raises(RedpollError, match="could not be written") as refused:
                stream.flush()
            assert (refused.value.code, refused.value.status) == ("RP-300", 503)
            found = sequences(disk.folder)
            assert found == expected[: len(found)] and len(found) >= 10 + number
            disk.leave(stream._path, 4096)
            with pytest.raises(RedpollError):
                stream.flush()
            assert sequences(disk.folder) == found, "half a frame is none"
            disk.leave(stream._path, 12_288)
            stream.flush()
            assert sequences(disk.folder) == expected
            disk.free()
        stream.close()


@every_way
def test_an_answer_is_taken_where_its_request_was_and_nothing_else(
    how: str, tmp_path: Path, monkeypatch
) -> None:
    """Past the bound: its body is left out, other facts are refused."""
    monkeypatch.setattr(writing, "BUFFER_BYTES_MAX", 5000)
    with small_disk(how, tmp_path / "disk", "256k") as disk:
        stream = FileJournal(disk.folder).open("gateway")
        stream.append("churn", request(1), b"x" * 16_000, 1)
        disk.fill()
        with pytest.raises(RedpollError):
            stream.flush()
        with pytest.raises(RedpollError, match="takes no more facts"):
            stream.append("churn", request(2))
        stream.append("churn", Answer(request(1).prediction_id, "v1"), b"y" * 6000, 3)
        disk.free()
        stream.flush()
        (first, second) = FileJournal(disk.folder).read()
        assert len(first.raw) == 16_000 and isinstance(second.fact, Answer) and second.raw == b""
        stream.close()


@every_way
def test_a_stream_that_found_no_room_begins_once_there_is(how: str, tmp_path: Path) -> None:
    """Patient: it takes nothing before, so nothing is older than its beginning."""
    clock = SimClock(START_US)
    with small_disk(how, tmp_path / "disk", "256k") as disk:
        (disk.folder / "journal" / "wal").mkdir(parents=True)
        disk.fill()
        journal = FileJournal(disk.folder, clock)
        with pytest.raises(RedpollError, match="could not be opened"):
            journal.open("gateway")
        stream = journal.open("gateway", patient=True)
        for _ in range(2):
            with pytest.raises(RedpollError, match="takes no more facts"):
                stream.append("churn", request(1))
            with pytest.raises(RedpollError, match="takes no more facts"):
                stream.append("churn", Answer(request(1).prediction_id, "v1"))
            with pytest.raises(RedpollError, match="could not be opened"):
                stream.flush()
        assert wal_files(disk.folder) == [] and not list(disk.folder.rglob(".*"))
        disk.free()
        clock.advance(5_000_000)
        stream.flush()
        stream.append("churn", request(2))
        stream.close()
        (only,) = journal.read()
        assert (only.sequence, only.time_us) == (1, START_US + 5_000_000)


@every_way
def test_a_read_only_disk_can_be_read_and_says_that_it_cannot_be_written(how: str) -> None:
    """Refused by the kernel."""
    with (
        tempfile.TemporaryDirectory() as folder,
        small_disk(how, Path(folder) / "disk", "2m") as disk,
    ):
        Path(folder).chmod(0o755)
        stream = FileJournal(disk.folder).open("gateway")
        written = fill(stream, 5)
        stream.close()
        with read_only(how, disk) as words:
            with pytest.raises(RedpollError, match=words) as refused:
                FileJournal(disk.folder).open("gateway")
            assert refused.value.code == "RP-300" and str(disk.folder) in refused.value.message
            assert sequences(disk.folder) == written
            assert query(disk.folder, "SELECT count(*) FROM request").rows == [(5,)]
        FileJournal(disk.folder).open("gateway").close()


@every_way
def test_sealing_waits_for_room_and_leaves_nothing_half_done(how: str, tmp_path: Path) -> None:
    """No temporary file takes the little room that there is; then it is sealed, each fact once."""
    with small_disk(how, tmp_path / "disk", "4m") as disk:
        harness = FilesHarness(disk.folder)
        stream = harness.journal.open("gateway")
        written = fill(stream, 50)
        stream.close()
        sealer = Sealer(harness.data, harness.journal, harness.clock)
        disk.fill()
        sealer.round()
        assert sealer.failures == 1
        assert not list(disk.folder.rglob("*.tmp")) and not list(disk.folder.rglob("*.parquet"))
        disk.free()
        sealer._retry.clear()
        sealer.round()
        assert wal_files(disk.folder)[1:] == []
        assert [e.sequence for e in harness.journal.read() if e.stream == stream.stream] == written
        sealer.close()


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
