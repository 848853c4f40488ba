"""``redpoll log verify``: whatever was done to a file is found, and nothing else is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from redpoll.errors import RedpollError
from redpoll.facts import Sample
from redpoll.journal import trailer
from redpoll.journal.checking import verify
from redpoll.journal.layout import Layout, Segment
from redpoll.sealer import retention
from tests.journal.golden import unpack
from tests.journal.logs import Log, log, positions
from tests.journal.support import wal_files


def test_a_whole_journal_is_said_to_be_whole(tmp_path: Path) -> None:
    """Live and sealed, a torn end of a dead stream, empty frames between: every fact counts once."""
    with log(tmp_path) as one:
        writer = one.day(3)
        for _ in range(200):  # files without a fact are sealed to nothing, and are no gap
            writer.beat()
        writer.flush()
        one.live(writer, 8)
        torn = one.day(1)
        torn.flush()
        end = torn._path
        torn.abandon()
        end.write_bytes(end.read_bytes() + b"half a frame")
        found = verify(tmp_path)
        assert found.ok and found.problems == ()
        assert [note.path for note in found.notes] == [f"wal/{end.name}"]
        assert found.facts == len(positions(tmp_path)) > 100
        assert found.streams == len({stream for stream, _ in positions(tmp_path)})
        one.seal_all()
        again = verify(tmp_path)
        assert again.ok and again.facts == len(positions(tmp_path))


def test_a_file_that_a_killed_sealer_left_beside_its_segments_counts_once(tmp_path: Path) -> None:
    """The write-ahead file goes after its segments came."""
    with log(tmp_path) as one:
        writer = one.journal.open("gateway")
        one.writers.append(writer)
        one.live(writer, 5)
        copy = tmp_path / "kept"
        shutil.copy(writer._path, copy)
        first = writer._path
        writer.close()
        one.sealer.round()
        assert not first.exists()
        shutil.copy(copy, first)
        found = verify(tmp_path)
        assert found.ok and found.facts == len(positions(tmp_path))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 16
    path.write_bytes(content)


def segment(one: Log, kind: str = "request") -> Segment:
    return Layout(one.data).segments([kind])[2]


def bit_of_a_sealed_file(one: Log) -> str:
    path = Path(segment(one).path)
    flip(path, path.stat().st_size // 2)
    return "not those that were written"


def sealed_file_cut(one: Log) -> str:
    path = Path(segment(one).path)
    path.write_bytes(path.read_bytes()[:-100])
    return "not that of a Parquet file"


def sealed_file_gone(one: Log) -> str:
    Path(segment(one, "answer").path).unlink()
    return "are missing: a sealed file is gone"


def every_file_of_a_range_gone(one: Log) -> str:
    stream = one.writers[0].stream
    mine = [s for s in Layout(one.data).segments() if s.stream == stream]
    wals = sorted(
        {w.first for s in mine for w in trailer.about(pq.read_metadata(s.path).metadata).wals}
    )
    for s in mine:
        if {w.first for w in trailer.about(pq.read_metadata(s.path).metadata).wals} == {wals[2]}:
            Path(s.path).unlink()
    return "are nowhere"


def sealed_file_twice(one: Log) -> str:
    found = segment(one)
    path = Path(found.path)
    shutil.copy(path, path.with_name(f"{found.stream}-{found.first}-{found.last + 1}.parquet"))
    return "are there twice"


def sealed_file_in_another_hour(one: Log) -> str:
    path = Path(segment(one).path)
    other = path.parent.parent / "hour=2001-01-01T00"
    other.mkdir()
    path.rename(other / path.name)
    return "facts of another hour"


def sealed_file_of_another_stream(one: Log) -> str:
    found = segment(one)
    path = Path(found.path)
    path.rename(path.with_name(f"gateway-{'0' * 12}-{found.first}-{found.last}.parquet"))
    return "facts of another stream"


def body_of_a_live_file(one: Log) -> str:
    path = one.writers[0]._path
    flip(path, path.stat().st_size - 5)
    return "is no such frame"


def header_of_a_live_file(one: Log) -> str:
    flip(one.writers[0]._path, 3)
    return "first bytes"


@pytest.mark.parametrize(
    "harm",
    [
        bit_of_a_sealed_file,
        sealed_file_cut,
        sealed_file_gone,
        every_file_of_a_range_gone,
        sealed_file_twice,
        sealed_file_in_another_hour,
        sealed_file_of_another_stream,
        body_of_a_live_file,
        header_of_a_live_file,
    ],
    ids=lambda harm: harm.__name__,
)
def test_whatever_was_done_to_it_is_found(harm: Callable[[Log], str], tmp_path: Path) -> None:
    """And said with its place; before, all was well."""
    with log(tmp_path, rotate_bytes=2500) as one:
        writer = one.day(2)
        one.live(writer, 3)
        writer.sync()
        assert verify(tmp_path).ok
        said = harm(one)
        found = verify(tmp_path)
        assert not found.ok and any(said in problem.what for problem in found.problems), found
        assert all(problem.path for problem in found.problems)


def test_a_journal_of_an_older_format_is_whole(tmp_path: Path) -> None:
    """It has no checksums to compare; what can be read is read."""
    old = unpack(1, tmp_path)
    found = verify(old.folder)
    assert found.ok and found.facts == len(old.facts)
    flip(wal_files(old.folder)[0], 300)
    assert not verify(old.folder).ok


def test_there_must_be_a_journal(tmp_path: Path) -> None:
    """RP-302, and what to do."""
    with pytest.raises(RedpollError, match="There is no log in") as error:
        verify(tmp_path)
    assert error.value.code == "RP-302"


def test_what_was_removed_as_told_is_not_missed_and_all_else_is(tmp_path: Path) -> None:
    """Hours that went by `capture.keep` are a note; a file that went of another hour is damage."""
    with log(tmp_path, rotate_bytes=2500) as one:
        one.day(6)
        one.seal_all()
        hours = sorted({s.hour for s in Layout(one.data).segments()})
        sealer = one.journal.open("sealer")
        one.writers.append(sealer)

        def say(model: str, fact: Sample) -> None:
            sealer.append(model, fact)
            sealer.sync()

        what = [
            retention.Due(model, kind, hours[0], "keep")
            for model, kind in {(s.model, s.kind) for s in Layout(one.data).segments()}
            if kind in retention.KINDS
        ]
        retention.remove(one.journal.layout, what, say)
        found = verify(tmp_path)
        assert found.ok and any("were removed" in note.what for note in found.notes), found
        last = [s for s in Layout(one.data).segments(["answer"]) if s.hour == hours[4]]
        Path(last[0].path).unlink()
        assert not verify(tmp_path).ok
