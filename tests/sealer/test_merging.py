"""Small sealed files become few: the same facts, each once, for every reader at every moment."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from redpoll.clock import SimClock
from redpoll.errors import RedpollError
from redpoll.journal.checking import verify
from redpoll.journal.exporting import export
from redpoll.journal.files import FileJournal
from redpoll.journal.layout import Layout, Segment
from redpoll.journal.query import query
from redpoll.sealer import merging
from redpoll.sealer.merging import Merger
from redpoll.sealer.service import Sealer
from redpoll.testing.journals import START_US, request
from tests.journal.golden import unpack
from tests.journal.logs import Log, log, positions

COUNT = "SELECT count(*), count(DISTINCT stream || '-' || sequence) FROM"
LATER_US = START_US + 100 * 3_600_000_000


def content(log: Log) -> dict[str, list[dict[str, Any]]]:
    """Every sealed row of every fact, in order of its position."""
    found: dict[str, list[dict[str, Any]]] = {}
    for segment in Layout(log.data).segments():
        rows = pq.ParquetFile(segment.path).read().to_pylist()
        found.setdefault(f"{segment.kind} {segment.model} {segment.hour}", []).extend(rows)
    return {
        key: sorted(rows, key=lambda row: (row["stream"], row["sequence"]))
        for key, rows in sorted(found.items())
    }


def merger(log: Log) -> Merger:
    return Merger(Layout(log.data), SimClock(LATER_US))


def merge_all(one: Merger) -> int:
    gone = 0
    while one._todo:
        gone += one.step()
    return gone


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Log]:
    """Three hours of two streams in many small files, all sealed."""
    with log(tmp_path, rotate_bytes=2500) as one:
        one.day(3)
        one.day(2)
        one.seal_all()
        yield one


def test_merged_files_are_few_and_hold_the_same(small: Log) -> None:
    """Every row and column as before, in order; the journal is whole, and a second time does nothing."""
    before, counted = content(small), positions(small.data)
    files = len(Layout(small.data).segments())
    one = merger(small)
    gone = merge_all(one)
    left = Layout(small.data).segments()
    assert len(left) == files - gone < files * 0.7
    assert content(small) == before and positions(small.data) == counted
    assert verify(small.data).ok
    assert len({(s.stream, s.kind, s.model, s.hour) for s in left}) == len(left)
    assert merge_all(merger(small)) == 0 and Layout(small.data).segments() == left


def test_an_hour_that_is_not_over_is_left_alone(small: Log) -> None:
    """It is merged once, when nothing more comes."""
    last = max(segment.hour for segment in Layout(small.data).segments())
    moment = small.clock.now_us()
    one = Merger(Layout(small.data), SimClock(moment - moment % 3_600_000_000 - 1))
    before = {s.path for s in Layout(small.data).segments() if s.hour == last}
    for _ in range(200):
        one.step()
    assert {s.path for s in Layout(small.data).segments() if s.hour == last} == before


def test_damaged_and_older_files_are_left_as_they_are(small: Log, tmp_path: Path) -> None:
    """Damage is not made to look whole; what does not say where its facts are from is no part."""
    found = Layout(small.data).segments(["request"])
    path = Path(found[1].path)
    harmed = path.read_bytes()[:-50] + bytes(50)
    path.write_bytes(harmed)
    merge_all(merger(small))
    assert path.read_bytes() == harmed
    assert [p.path for p in verify(small.data).problems] == [
        str(path.relative_to(small.data.journal))
    ]
    old = unpack(1, tmp_path / "old")
    before = {segment.path for segment in Layout(old.folder).segments()}
    one = Merger(Layout(old.folder), SimClock(LATER_US))
    assert merge_all(one) == 0 and {s.path for s in Layout(old.folder).segments()} == before


def test_no_reader_ever_sees_a_row_twice_or_not_at_all(small: Log, monkeypatch) -> None:
    """Our readers never notice; an engine that listed a folder too early says that a file is gone."""
    monkeypatch.setattr(merging, "GRACE_S", 0.2)
    total = {
        kind: len(list(FileJournal(small.data).read(kinds=[kind], raw=False)))
        for kind in ("request", "answer")
    }
    stop, wrong, reads, refused = threading.Event(), [], [0], [0]

    def check(kind: str, what: str, rows: int, distinct: int) -> None:
        reads[0] += 1
        if not rows == distinct == total[kind]:
            wrong.append(f"{what}: {rows} rows, {distinct} of them different, of {total[kind]}")

    def foreign() -> None:
        with duckdb.connect() as engine:
            while not stop.is_set():
                try:
                    sql = f"{COUNT} read_parquet('{small.data.journal}/answer/**/*.parquet')"
                    found = engine.execute(sql).fetchall()
                    check("answer", "duckdb", *found[0])
                except duckdb.IOException:
                    refused[0] += 1

    def ours() -> None:
        while not stop.is_set():
            check("request", "query", *query(small.data, f"{COUNT} request").rows[0])
            entries = [
                e.sequence for e in FileJournal(small.data).read(kinds=["request"], raw=False)
            ]
            check("request", "read", len(entries), total["request"])
            follower = FileJournal(small.data).follow()
            mine: list[tuple[str, int]] = []
            end = time.monotonic() + 10
            while len(mine) < len(every) and time.monotonic() < end:
                mine += [(e.stream, e.sequence) for e in follower.poll(7)]
            follower.close()
            if sorted(mine) != every:
                wrong.append("the follower missed or repeated something")

    every = positions(small.data)
    threads = [threading.Thread(target=each) for each in (foreign, ours)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            copies = {
                Path(s.path): Path(s.path).read_bytes() for s in Layout(small.data).segments()
            }
            one = merger(small)
            merge_all(one)
            for folder in {path.parent for path in copies}:  # and back, as atomically
                other = one._fresh()
                for path, raw in copies.items():
                    if path.parent == folder:
                        (other / path.name).write_bytes(raw)
                with merging._alone(Layout(small.data)):
                    merging.exchange(other, folder)
                one._old.append(merging._Old(other, time.monotonic(), 0))
            while one._old:
                one._let_go()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[:5]
    assert reads[0] > 10 and verify(small.data).ok


STEPS = ("merge", "link", "sync_folder", "exchange", "exchanged", "let_go")
KILLED = """
import os, signal, sys
from redpoll.clock import SimClock
from redpoll.journal.layout import Layout
from redpoll.sealer import merging
folder, step, nth, now = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
count = 0
def die(*_):
    global count
    count += 1
    if count == nth:
        os.kill(os.getpid(), signal.SIGKILL)
def before(module, name):
    real = getattr(module, name)
    def first(*args, **more):
        die()
        return real(*args, **more)
    setattr(module, name, first)
if step == "exchanged":
    real = merging.exchange
    def after(one, other):
        real(one, other)
        die()
    merging.exchange = after
elif step == "let_go":
    merging.GRACE_S = 0.0
    before(merging.shutil, "rmtree")
else:
    before(merging.os if step == "link" else merging, step)
one = merging.Merger(Layout(folder), SimClock(now))
while one._todo:
    one.step()
one._let_go()
"""


@pytest.mark.parametrize("step", STEPS)
def test_a_sealer_killed_in_the_middle_of_merging_harms_nothing(step: str, small: Log) -> None:
    """Kill -9 before and after each step: what is there is whole, and the next sealer goes on."""
    before, counted = content(small), positions(small.data)
    nth = {"merge": 3, "link": 1, "sync_folder": 2, "exchange": 2, "exchanged": 3, "let_go": 2}[
        step
    ]
    if step == "link":  # something must stay beside what is merged
        for segment in Layout(small.data).segments():
            (Path(segment.path).parent / "notes.txt").write_text("of somebody")
    arguments = [str(small.data.root), step, str(nth), str(LATER_US)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert content(small) == before and positions(small.data) == counted
    answers = sum(len(rows) for key, rows in before.items() if key.startswith("answer "))
    assert query(small.data, f"{COUNT} answer").rows == [(answers, answers)]
    assert verify(small.data).ok
    one = merger(small)
    merge_all(one)
    assert content(small) == before and verify(small.data).ok
    one._old = [old._replace(since=0.0) for old in one._old]
    one._let_go()
    assert list((small.data.wal / merging.FOLDER).iterdir()) == []


def test_a_file_system_that_cannot_exchange_names_is_left_as_it_is(
    small: Log, monkeypatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; nothing is left behind."""

    def refuse(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(merging, "exchange", refuse)
    before = Layout(small.data).segments()
    one = merger(small)
    for _ in range(5):
        assert one.step() == 0
    assert caplog.text.count("are not merged: this file system cannot") == 1
    assert Layout(small.data).segments() == before
    assert list((small.data.wal / merging.FOLDER).iterdir()) == []


def test_the_sealer_merges_when_it_has_nothing_to_seal(tmp_path: Path) -> None:
    """As its clock goes on; facts that come late are merged, too."""
    with log(tmp_path, rotate_bytes=2500) as one:
        writer = one.day(1)
        for _ in range(60):
            one.sealer.round()
        files = Layout(one.data).segments(["request"], ["churn"])
        assert len({s.hour for s in files}) == len(files) == 1
        one.live(writer, 3)
        counted = positions(one.data)
        writer.close()
        again = Sealer(one.data, one.journal, SimClock(LATER_US))
        for _ in range(60):
            again.round()
        again.close()
        found = [p for p in positions(one.data) if not p[0].startswith("sealer-")]
        assert found == counted and verify(one.data).ok


MEMORY = """
import sys
import pyarrow as pa
from redpoll.clock import SimClock
from redpoll.journal import batches
from redpoll.journal.layout import Layout
from redpoll.sealer import merging
batches.GROUP_BYTES = 2 << 20
one = merging.Merger(Layout(sys.argv[1]), SimClock(int(sys.argv[2])))
gone = 0
while one._todo:
    gone += one.step()
print(gone, pa.default_memory_pool().max_memory())
"""


def test_memory_is_bounded_by_a_row_group(tmp_path: Path) -> None:
    """40 MB of bodies, that do not compress, go through a few megabytes."""
    with log(tmp_path, rotate_bytes=1 << 20) as one:
        writer = one.journal.open("gateway")
        one.writers.append(writer)
        for number in range(160):
            writer.append("churn", request(number), os.urandom(250_000), 9)
            writer.flush()
        one.seal_all()
        assert len(Layout(one.data).segments(["request"])) > 20
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(tmp_path), str(LATER_US)],
            capture_output=True, text=True, timeout=100, check=True,
        )  # fmt: skip
        gone, peak = map(int, done.stdout.split())
        assert gone > 20 and peak < 16 << 20, f"{peak >> 20} MiB"
        table = pq.read_table(Layout(one.data).segments(["request"])[0].path, partitioning=None)
        assert isinstance(table, pa.Table) and verify(one.data).ok


def test_an_export_begins_again_where_files_are_merged_under_it(
    small: Log, tmp_path: Path, monkeypatch
) -> None:
    """Each row once; after too many times it is an error, not half a file."""
    expected = len(list(FileJournal(small.data).read(kinds=["answer"], raw=False)))
    real: Callable[..., Any] = Layout.segments
    turns = [0]

    def then_merge(self: Layout, *args: Any, **more: Any) -> list[Segment]:
        found: list[Segment] = real(self, *args, **more)
        if turns[0] == 0:
            turns[0] = 1
            merge_all(Merger(Layout(small.data), SimClock(LATER_US)))
        return found

    monkeypatch.setattr(Layout, "segments", then_merge)
    done = export(small.data, tmp_path / "out")
    assert {one.fact: one.rows for one in done}["answer"] == expected and turns == [1]
    monkeypatch.setattr(
        Layout,
        "segments",
        lambda *a, **k: [s._replace(path=s.path + "x") for s in real(Layout(small.data))],
    )
    with pytest.raises(RedpollError, match="could not be written"):
        export(small.data, tmp_path / "never")
    assert not (tmp_path / "never").exists()
