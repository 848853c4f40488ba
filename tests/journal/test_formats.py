"""Format versions: older ones are read and become current, newer ones are refused, damage is neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from redpoll.clock import SimClock
from redpoll.errors import RedpollError
from redpoll.facts import Entry, Request
from redpoll.host.paths import DataDir
from redpoll.journal import formats, frames, parquet, tail, trailer
from redpoll.journal.files import FileJournal
from redpoll.journal.final import Final
from redpoll.journal.layout import Layout
from redpoll.journal.query import query
from redpoll.sealer.service import Sealer
from redpoll.testing.journals import START_US, FilesHarness, fill, follow_all, request
from tests.journal.golden import unpack
from tests.journal.support import wal_files


def all_facts(folder: Path) -> list[list[Any]]:
    """As the golden file has them; what a sealer added is left out."""
    final = Final(DataDir(folder))
    return [
        [e.stream, e.sequence, e.time_us, e.schema, e.model, *named(e, final)]
        for e in FileJournal(folder).read()
        if not e.stream.startswith("sealer-")
    ]


def named(entry: Entry, final: Final) -> tuple[str, Any]:
    return type(entry.fact).__name__.lower(), msgspec.to_builtins(final.fact(entry))


def headers(folder: Path) -> set[int]:
    return {frames.version_of(path.read_bytes()[:16]) for path in wal_files(folder)}


def sealed_formats(folder: Path) -> set[int]:
    return {
        trailer.about(pq.read_metadata(segment.path).metadata).format
        for segment in Layout(folder).segments()
    }


def test_a_journal_of_format_1_is_read_as_it_is(tmp_path: Path) -> None:
    """Live and sealed, torn end and all, by every reader; reading changes nothing in it."""
    old = unpack(1, tmp_path)
    before = {path: path.read_bytes() for path in old.folder.rglob("*") if path.is_file()}
    assert headers(old.folder) == sealed_formats(old.folder) == {1}
    assert all_facts(old.folder) == old.facts and len(old.facts) == 30
    follower = FileJournal(old.folder).follow()
    found = sorted((one.stream, one.sequence) for one in follow_all(follower))
    follower.close()
    assert found == sorted((fact[0], fact[1]) for fact in old.facts)
    counts = query(old.folder, "SELECT count(*), sum(rows) FROM request").rows
    assert counts == [(10, 18)]
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(before) == sorted(p for p in old.folder.rglob("*") if p.is_file())


def test_a_journal_of_format_1_goes_on_in_ours(tmp_path: Path) -> None:
    """Its live file is sealed as ours, new ones are ours, and what it held is there once."""
    old = unpack(1, tmp_path)
    data, clock = DataDir(old.folder), SimClock(START_US + 90_000_000_000)
    journal = FileJournal(data, clock)
    writer = journal.open("gateway")
    assert (data.journal / "format").read_text() == f"{formats.FORMAT}\n"
    new = fill(writer, 3, 500)
    sealer = Sealer(data, journal, clock)
    sealer.round()
    assert headers(old.folder) == {formats.FORMAT}
    assert sealed_formats(old.folder) == {1, formats.FORMAT}
    mine = [fact for fact in all_facts(old.folder) if fact[0] == writer.stream]
    assert [fact for fact in all_facts(old.folder) if fact[0] != writer.stream] == old.facts
    assert [fact[1] for fact in mine] == new
    assert (sealer.damaged_files, sealer.lost_requests) == (0, 1), "one request had no answer"
    writer.close()
    sealer.close()


def newer_mark(folder: Path) -> None:
    (folder / "journal" / "format").write_text("3\n")


def newer_wal(folder: Path) -> None:
    path = wal_files(folder)[0]
    path.write_bytes(frames.header(3) + path.read_bytes()[16:])


USES: dict[str, Callable[[Path], Any]] = {
    "read": lambda folder: list(FileJournal(folder).read()),
    "follow": lambda folder: FileJournal(folder).follow().poll(),
    "query": lambda folder: query(folder, "SELECT count(*) FROM request"),
    "tail": lambda folder: list(tail.lines(folder, follow=False)),
    "streams": lambda folder: FileJournal(folder).streams(),
}


@pytest.mark.parametrize("make_newer", [newer_mark, newer_wal])
@pytest.mark.parametrize("use", [*USES, "open", "seal"])
def test_a_newer_journal_is_refused_and_left_alone(
    use: str, make_newer: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """RP-310 with both versions and what to do; no byte of it changes."""
    journal = FileJournal(tmp_path)
    stream = journal.open("gateway")
    fill(stream, 5)
    stream.close()
    make_newer(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    if make_newer is newer_wal and use in ("open", "seal"):
        # Another stream may be opened; the newer file is said, and is not touched.
        Sealer(DataDir(tmp_path), journal, SimClock(START_US)).round()
        assert "RP-310" in caplog.text and "format is 3" in caplog.text
        assert all(path.read_bytes() == before[path] for path in wal_files(tmp_path))
        assert not list(tmp_path.rglob("*.bad")) and not list(tmp_path.rglob("*.parquet"))
        return
    with pytest.raises(RedpollError, match="reads formats 1 to 2") as refused:
        if use == "open":
            journal.open("gateway")
        elif use == "seal":
            Sealer(DataDir(tmp_path), journal, SimClock(START_US))
        else:
            USES[use](tmp_path)
    assert refused.value.code == "RP-310"
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_sealed_file_of_a_newer_redpoll_is_refused(tmp_path: Path, monkeypatch) -> None:
    """Also where its folder does not say so: copied there, say."""
    harness = FilesHarness(tmp_path)
    stream = harness.journal.open("gateway")
    fill(stream, 2)
    stream.close()
    monkeypatch.setattr(trailer, "FORMAT", 3)
    harness.seal()
    monkeypatch.undo()
    with pytest.raises(RedpollError, match="format is 3"):
        list(harness.journal.read())
    path = Path(harness.journal.layout.segments()[0].path)
    with pytest.raises(RedpollError, match="format is 3"):
        parquet.damage(path)


def test_a_damaged_header_is_damage_and_not_a_newer_version(tmp_path: Path) -> None:
    """Every bit of it, in files of both formats; the sealer sets the file aside."""
    for version in (1, formats.FORMAT):
        good = frames.header(version)
        assert frames.version_of(good) == version
        for bit in range(len(good) * 8):
            flipped = bytearray(good)
            flipped[bit // 8] ^= 1 << bit % 8
            assert frames.version_of(bytes(flipped)) == 0, bit
    harness = FilesHarness(tmp_path)
    stream = harness.journal.open("gateway")
    fill(stream, 1)
    stream.close()
    path = wal_files(tmp_path)[0]
    content = bytearray(path.read_bytes())
    content[12] ^= 4
    path.write_bytes(content)
    harness.seal()
    assert harness.sealer is not None and harness.sealer.damaged_files == 1


def test_every_flipped_byte_of_a_sealed_file_is_found(tmp_path: Path) -> None:
    """Data, checksum, footer and end alike; a cut end too. Files of format 1 must be readable."""
    harness = FilesHarness(tmp_path)
    stream = harness.journal.open("gateway")
    stream.append("churn", request(1))
    stream.close()
    harness.seal()
    (segment,) = harness.journal.layout.segments(["request"])
    path = Path(segment.path)
    content = path.read_bytes()
    assert parquet.damage(path) == ""
    for at in range(0, len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        path.write_bytes(flipped)
        assert parquet.damage(path) != "", at
    for size in (0, 3, 11, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        assert parquet.damage(path) != "", size
    old = unpack(1, tmp_path / "old")
    for segment in Layout(old.folder).segments(["request"])[:2]:
        assert parquet.damage(segment.path) == ""
        whole = Path(segment.path).read_bytes()
        Path(segment.path).write_bytes(whole[:2000] + bytes(200) + whole[2200:])
        assert "cannot be read" in parquet.damage(segment.path)


def test_a_column_that_an_older_redpoll_did_not_know_has_its_default(tmp_path: Path) -> None:
    """Read by position, followed and queried, beside files that have it."""
    harness = FilesHarness(tmp_path)
    stream = harness.journal.open("gateway")
    stream.append("churn", request(1, trace_id="t", capture="cut", groups={"a": "b"}))
    stream.close()
    harness.seal()
    (segment,) = harness.journal.layout.segments(["request"])
    table = pq.ParquetFile(segment.path).read().drop_columns(["trace_id", "capture", "groups"])
    pq.write_table(table, segment.path)
    other = harness.journal.open("gateway")
    other.append("churn", request(2, trace_id="u", capture="cut"))
    other.close()
    harness.seal()
    old = next(e.fact for e in harness.journal.read() if e.stream == stream.stream)
    assert isinstance(old, Request)
    assert (old.trace_id, old.capture, old.groups, old.request_id) == (None, "full", {}, "r-1")
    rows = query(tmp_path, "SELECT request_id, trace_id FROM request ORDER BY 1").rows
    assert rows == [("r-1", None), ("r-2", "u")]
