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
from redpoll.journal.frames import Wanted
from redpoll.journal.wal import WalReader
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
def test_a_flipped_bit_costs_its_own_frame_and_nothing_else(data) -> None:
    """Whole bytes may be wrong, too: each frame that they touch is left out, no other, and said."""
    with tempfile.TemporaryDirectory() as folder:
        journal = FileJournal(folder)
        stream = journal.open("gateway")
        ends = [16]
        for number in range(1, 5):
            fill(stream, 1, number)
            ends.append(wal_files(Path(folder))[0].stat().st_size)
        stream.abandon()
        (path,) = wal_files(Path(folder))
        written = list(journal.read())
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(16, len(content) - 1))
        for each in range(at, min(len(content), at + data.draw(st.integers(1, 30)))):
            content[each] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        found = list(journal.read())
        assert len(found) >= len(written) - 2, "at most the frames that were touched"
        assert all(one in written for one in found)
        assert [e.sequence for e in found] == sorted(e.sequence for e in found)
        missing = sorted({e.sequence for e in written} - {e.sequence for e in found})
        reader = WalReader(journal.layout.wals()[stream.stream][0], Wanted())
        while reader.batch(3):
            pass
        reader.close()
        said = " ".join(reader.damage) + reader.problem
        torn = found[-1:] == written[: len(found)][-1:]  # its last frame: as if it were torn off
        assert said or (torn and len(found) < len(written)) or not missing
        bare = follow_all(journal.follow())  # a follower looks at no body, so may get further
        assert {e.sequence for e in found} <= {e.sequence for e in bare}


def test_nothing_in_a_body_is_taken_for_a_frame(tmp_path: Path) -> None:
    """A client may send what looks like the next frames: whole, torn off, or damaged beside it."""
    other = FileJournal(tmp_path / "forged").open("gateway")
    fill(other, 12)
    other.flush()
    forged = other._path.read_bytes()[16:]
    other.close()
    stream = FileJournal(tmp_path).open("gateway")
    first = stream.append("churn", request(0), b"body", 1)
    stream.flush()
    at = stream._path.stat().st_size
    second = stream.append("churn", request(1), forged, 1)
    stream.flush()
    size = stream._path.stat().st_size
    whole = stream._path.read_bytes()
    follower = FileJournal(tmp_path).follow()
    for cut in (at + 10, at + 60, at + (size - at) // 2, size - 1):
        stream._path.write_bytes(whole[:cut])
        assert sequences(tmp_path) == [first], "torn"
        follower.poll()
        assert follower.cursors[stream.stream] == first
    stream._path.write_bytes(whole[:-1] + b"?")
    assert sequences(tmp_path) == [first], "its own body is damaged"
    stream._path.write_bytes(whole)
    assert sequences(tmp_path) == [first, second]
    assert [entry.sequence for entry in follower.poll()] == [second]
    follower.close()
    stream.close()


def test_damage_is_passed_over_and_said_with_its_place(tmp_path: Path, caplog) -> None:
    """A length, a body, many frames at once: everything behind is read, live too."""
    journal = FileJournal(tmp_path)
    stream = journal.open("gateway")
    follower = journal.follow()
    sizes = [16 + frames.FRAME_BYTES]
    for number in range(300):
        stream.append("churn", request(number), b"body" * 20, 1)
        stream.flush()
        sizes.append(wal_files(tmp_path)[0].stat().st_size)
    (path,) = wal_files(tmp_path)
    with path.open("r+b") as file:
        file.seek(sizes[9] + 7)  # the length of frame 10's fact, made huge
        file.write(b"\x7f")
        file.seek(sizes[19] + 200)  # in the body of frame 20
        file.write(b"\xff")
        file.seek(sizes[100])  # frames 101 to 250
        file.write(bytes(sizes[250] - sizes[100]))
    gone = {10, 20, *range(101, 251)}
    assert sequences(tmp_path) == [n for n in range(1, 301) if n not in gone]
    assert f"frame 10 is damaged (bytes {sizes[9]} to {sizes[10] - 1})" in caplog.text
    assert f"frame 20 is damaged (bytes {sizes[19]} to {sizes[20] - 1})" in caplog.text
    assert f"frames 101 to 250 are damaged (bytes {sizes[100]} to {sizes[250] - 1})" in caplog.text
    found = [one.sequence for one in follow_all(follower)]
    assert found == [n for n in range(1, 301) if n not in gone - {20}]
    more = fill(stream, 2, 900)
    assert [one.sequence for one in follow_all(follower)] == more
    stream.close()
    follower.poll()
    assert follower.damaged == 1


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
