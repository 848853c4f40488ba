"""A file that is being written: what was not whole at one look is whole at the next, not damaged."""

from __future__ import annotations

import threading
from pathlib import Path

from redpoll.facts import Sample
from redpoll.journal.files import FileJournal
from redpoll.journal.frames import Wanted
from redpoll.journal.wal import WalReader


def test_a_frame_that_is_finished_between_two_looks_is_read(tmp_path: Path) -> None:
    """At every byte at which the file may have ended when it was first looked at."""
    journal = FileJournal(tmp_path)
    writer = journal.open("gateway")
    for number in range(3):
        writer.append("churn", Sample("lag", {}, number), b"body" * number, 1)
    writer.flush()
    ((wal,),) = journal.layout.wals().values()
    whole = Path(wal.path).stat().st_size
    for raw in (True, False):
        for seen in range(16, whole):
            reader = WalReader(wal, Wanted(raw=raw))
            sizes = iter([seen])
            real = reader.size
            reader.size = lambda sizes=sizes, real=real: next(sizes, None) or real()  # type: ignore[method-assign]
            found = reader.batch(100)
            found += reader.batch(100)
            assert [entry.fact.value for entry in found] == [0, 1, 2], (raw, seen)
            assert (reader.damage, reader.problem) == ([], ""), (raw, seen)
            reader.close()
    writer.close()


def test_nothing_is_lost_on_who_reads_while_it_is_written(tmp_path: Path) -> None:
    """A writer in another thread, frame by frame; a follower's reader that asks all the time."""
    journal = FileJournal(tmp_path)
    writer = journal.open("gateway")
    done = threading.Event()

    def write() -> None:
        for number in range(4000):
            writer.append("churn", Sample("lag", {}, number), b"x" * (number % 700), 1)
            writer.flush()
        done.set()

    ((wal,),) = journal.layout.wals().values()
    readers = [WalReader(wal, Wanted(raw=raw)) for raw in (True, False)]
    thread = threading.Thread(target=write)
    thread.start()
    found: list[list[float]] = [[], []]
    ended = False
    while not ended:
        ended = done.is_set()  # then one more look has everything
        for reader, values in zip(readers, found, strict=True):
            while entries := reader.batch(50):
                values += [entry.fact.value for entry in entries]
            assert reader.damage == []
    thread.join()
    writer.close()
    assert found[0] == found[1] == list(map(float, range(4000)))
