"""What write-ahead files do when bytes are missing, wrong, or refused by the disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redpoll.clock import SimClock
from redpoll.errors import RedpollError
from redpoll.journal import frames, writer
from redpoll.journal.files import FileJournal
from redpoll.testing.journals import START_US, answer, fill, follow_all, request
from tests.journal.support import sequences, wal_files


def test_a_file_cut_anywhere_in_its_last_frame_gives_all_others(tmp_path: Path) -> None:
    """At every byte offset of the last frame, for the reader and for the follower."""
    journal = FileJournal(tmp_path)
    stream = journal.open("gateway")
    stream.append("churn", request(1), b"body" * 20, 1)
    stream.append("churn", answer(1), b"body", 3)
    stream.flush()
    (path,) = wal_files(tmp_path)
    whole = path.stat().st_size
    stream.append("churn", request(2, groups={"a": "b"}), b"another body", 1)
    stream.flush()
    stream.abandon()
    content = path.read_bytes()
    for cut in range(whole, len(content)):
        path.write_bytes(content[:cut])
        assert sequences(tmp_path) == [1, 2], cut
        assert len(follow_all(journal.follow())) == 2
        assert journal.streams()[0].last_sequence == 2
    path.write_bytes(content)
    assert sequences(tmp_path) == [1, 2, 3]


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_flipped_bit_ends_a_file_and_nothing_worse(data) -> None:
    """What is read is a beginning of what was written, each fact as it was; nothing raises."""
    with tempfile.TemporaryDirectory() as folder:
        journal = FileJournal(folder)
        stream = journal.open("gateway")
        fill(stream, 4)
        stream.abandon()
        (path,) = wal_files(Path(folder))
        written = list(journal.read())
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) * 8 - 1))
        content[at // 8] ^= 1 << at % 8
        path.write_bytes(content)
        found = list(journal.read())
        assert found == written[: len(found)] and len(found) < len(written)
        bare = follow_all(journal.follow())  # a follower looks at no body, so may get further
        assert [e.fact for e in bare] == [e.fact for e in written[: len(bare)]]
        assert len(bare) >= len(found)


def test_a_follower_passes_a_damaged_file_when_the_next_one_comes(tmp_path: Path) -> None:
    """It stops at the damage, counts it, and goes on behind the rotation."""
    journal = FileJournal(tmp_path, rotate_bytes=4000)
    stream = journal.open("gateway")
    follower = journal.follow()
    good = fill(stream, 3)
    (path,) = wal_files(tmp_path)
    size = path.stat().st_size
    assert len(follower.poll()) == len(good)
    fill(stream, 2, 3)
    with path.open("r+b") as file:
        file.seek(size + 50)
        file.write(b"\xff\xff")
    assert follower.poll() == [] and follower.damaged == 0
    later = []
    number = 5
    while len(wal_files(tmp_path)) < 2:
        later = fill(stream, 1, number)
        number += 1
    later += fill(stream, 2, number)
    found = follow_all(follower)
    assert [entry.sequence for entry in found] == [s for s in later if s > found[0].sequence - 1]
    assert len(found) >= 4 and follower.damaged == 1


def test_a_frame_of_an_unknown_kind_is_passed_over_and_counted(tmp_path: Path) -> None:
    """A newer redpoll's fact does not hide the ones behind it."""
    journal = FileJournal(tmp_path)
    stream = journal.open("gateway")
    stream.append("churn", request(1))
    stream.flush()
    (path,) = wal_files(tmp_path)
    rest = frames.AFTER_CRC.pack(0, 0, 0, 2, START_US, 77, 0, 1, 5) + b"churn"
    with path.open("ab") as file:
        file.write(frames.crc32(rest).to_bytes(4, "little") + rest + frames.beat(3, START_US))
    follower = journal.follow()
    assert len(follower.poll()) == 1
    assert follower.streams()[0].last_sequence == 3
    stream.abandon()
    follower.poll()
    assert follower.unreadable == 1


def test_a_frame_out_of_turn_ends_a_file(tmp_path: Path) -> None:
    """Bytes that were once a good frame here are not taken for one a second time."""
    journal = FileJournal(tmp_path)
    stream = journal.open("gateway")
    fill(stream, 1)
    (path,) = wal_files(tmp_path)
    size = path.stat().st_size
    expected = fill(stream, 1, 1)
    content = path.read_bytes()
    path.write_bytes(content + content[size:])
    assert sequences(tmp_path) == [1, 2, *expected]
    assert [entry.sequence for entry in follow_all(journal.follow())] == [1, 2, *expected]


def test_a_foreign_file_is_no_stream_of_facts(tmp_path: Path) -> None:
    """Another format version, or bytes from elsewhere: read as nothing, without an error."""
    journal = FileJournal(tmp_path)
    fill(journal.open("gateway"), 2)
    (path,) = wal_files(tmp_path)
    content = path.read_bytes()
    path.write_bytes(frames.MAGIC + (9).to_bytes(4, "little") + content[16:])
    assert sequences(tmp_path) == [] == journal.follow().poll()
    path.write_bytes(b"")
    assert sequences(tmp_path) == [] == journal.follow().poll()


def test_a_refusing_disk_keeps_the_buffer_and_tears_no_frame(tmp_path: Path, monkeypatch) -> None:
    """A write that takes a part and then fails raises RP-300; the next flush goes on in mid-frame."""
    journal = FileJournal(tmp_path)
    stream = journal.open("gateway")
    real = os.write
    room = [0]

    def cramped(descriptor: int, content: bytes) -> int:
        if room[0] <= 0:
            raise OSError(28, "No space left on device")
        written = real(descriptor, content[: room[0]])
        room[0] -= written
        return written

    expected = fill(stream, 2)
    monkeypatch.setattr(writer.os, "write", cramped)
    for room[0] in (0, 1, 40, 150, 300, 10):
        expected.append(stream.append("churn", request(7), b"body" * 30, 1))
        with pytest.raises(RedpollError) as refused:
            stream.flush()
        assert refused.value.code == "RP-300" and "No space left" in refused.value.message
        found = sequences(tmp_path)
        assert found == expected[: len(found)]
    monkeypatch.undo()
    stream.flush()
    assert sequences(tmp_path) == expected
    assert [entry.sequence for entry in follow_all(journal.follow())] == expected


def test_what_a_refusing_disk_makes_us_hold_is_bounded(tmp_path: Path, monkeypatch) -> None:
    """Past the bound an append is refused, until the disk takes the rest."""
    journal = FileJournal(tmp_path)
    stream = journal.open("gateway")
    monkeypatch.setattr(writer, "BUFFER_BYTES_MAX", 1000)
    refuse = [True]
    real = os.write

    def write(descriptor: int, content: bytes) -> int:
        if refuse[0]:
            raise OSError(5, "Input/output error")
        return real(descriptor, content)

    monkeypatch.setattr(writer.os, "write", write)
    stream.append("churn", request(1), b"x" * 2000, 1)
    with pytest.raises(RedpollError):
        stream.flush()
    stream.beat()
    with pytest.raises(RedpollError, match="takes no more facts"):
        stream.append("churn", request(2))
    refuse[0] = False
    stream.flush()
    stream.append("churn", request(3))
    stream.flush()
    assert sequences(tmp_path) == [1, 2]


def test_files_rotate_by_size_and_by_age(tmp_path: Path) -> None:
    """By age only where there is a fact in them; a new file begins with an empty frame."""
    clock = SimClock(START_US)
    journal = FileJournal(tmp_path, clock, rotate_bytes=10_000, rotate_us=30_000_000)
    stream = journal.open("gateway")
    for _ in range(100):
        clock.advance(1_000_000)
        stream.beat()
        stream.flush()
    assert len(wal_files(tmp_path)) == 1, "nothing to seal, nothing to rotate"
    first = stream.append("churn", request(1))
    stream.flush()
    clock.advance(29_000_000)
    stream.beat()
    stream.flush()
    assert len(wal_files(tmp_path)) == 1
    clock.advance(1_000_000)
    stream.beat()
    stream.flush()
    assert len(wal_files(tmp_path)) == 2
    stream.append("churn", request(2), b"x" * 10_000, 1)
    stream.flush()
    assert len(wal_files(tmp_path)) == 3
    assert sequences(tmp_path)[0] == first and len(sequences(tmp_path)) == 2
    for path in wal_files(tmp_path):
        assert path.read_bytes().startswith(frames.FILE_HEADER)


def test_a_rotation_that_the_disk_refuses_goes_on_in_the_old_file(
    tmp_path: Path, monkeypatch
) -> None:
    """It is tried again a second later, and nothing is lost or left behind."""
    clock = SimClock(START_US)
    journal = FileJournal(tmp_path, clock, rotate_us=1_000_000)
    stream = journal.open("gateway")

    def no_room(path, *arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.os, "open", no_room)
    expected = []
    for number in range(4):
        expected.append(stream.append("churn", request(number)))
        stream.flush()
        clock.advance(1_000_001)
    assert len(wal_files(tmp_path)) == 1
    monkeypatch.undo()
    expected.append(stream.append("churn", request(9)))
    stream.flush()
    assert len(wal_files(tmp_path)) == 2
    assert sequences(tmp_path) == expected


def test_a_fact_that_cannot_be_written_takes_no_sequence(tmp_path: Path) -> None:
    """The stream goes on as if it had not been tried."""
    stream = FileJournal(tmp_path).open("gateway")
    for model, fact in (
        ("churn", request(1, unit=object())),
        ("", request(1)),
        ("x" * 256, request(1)),
    ):
        with pytest.raises((TypeError, ValueError)):
            stream.append(model, fact)
    assert stream.append("churn", request(1)) == 1
    stream.flush()
    assert sequences(tmp_path) == [1]


def test_a_folder_that_cannot_be_written_is_rp_300(tmp_path: Path, monkeypatch) -> None:
    """Opening a stream says so with the path."""

    def read_only(*arguments, **more):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(writer.os, "open", read_only)
    with pytest.raises(RedpollError, match="Read-only file system") as refused:
        FileJournal(tmp_path).open("gateway")
    assert refused.value.code == "RP-300"
