"""What every adapter of the journal's port must do: :data:`CHECKS`, each a function of a harness.

Run them on an adapter of your own::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_it_keeps_the_journals_contract(check, tmp_path):
        check(MyHarness(tmp_path))
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from redpoll.clock import SimClock
from redpoll.facts import Answer, Decision, Entry, Fact, Outcome, Request, Sample
from redpoll.host.paths import DataDir
from redpoll.journal.files import FileJournal
from redpoll.journal.memory import MemoryJournal
from redpoll.journal.port import Follower, Journal, Writer
from redpoll.sealer.service import Sealer

START_US = 1_790_000_000_000_000


class Harness(Protocol):
    """An empty journal to be tried, a clock to hold it by, and what happens to processes."""

    clock: SimClock
    journal: Journal

    def kill(self, writer: Writer) -> None:
        """The process of this writer dies now, as by kill -9."""
        ...

    def seal(self) -> None:
        """Whatever may be moved elsewhere is moved now."""
        ...


class MemoryHarness:
    """The twin in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self.clock = SimClock(START_US)
        self.journal = MemoryJournal(self.clock)

    def kill(self, writer: Writer) -> None:
        """Drop what is buffered; the stream is dead."""
        writer.abandon()  # type: ignore[attr-defined]

    def seal(self) -> None:
        """Nothing is ever sealed here."""


class FilesHarness:
    """The journal in files, with small files and a sealer."""

    def __init__(self, folder: Path, rotate_bytes: int = 2000) -> None:
        self.clock = SimClock(START_US)
        self.data = DataDir(folder)
        self.journal = FileJournal(self.data, self.clock, rotate_bytes=rotate_bytes)
        self.sealer: Sealer | None = None

    def kill(self, writer: Writer) -> None:
        """Close the files as a dying process does."""
        writer.abandon()  # type: ignore[attr-defined]

    def seal(self) -> None:
        """One round of the sealer."""
        if self.sealer is None:
            self.sealer = Sealer(self.data, self.journal, self.clock)
        self.sealer.round()


def request(number: int, **fields: Any) -> Request:
    """A request whose prediction id says ``number``."""
    every: dict[str, Any] = {"request_id": f"r-{number}", "rows": 1, **fields}
    return Request(prediction_id=f"01999999-9999-7000-8000-{number:012d}", **every)


def answer(number: int, **fields: Any) -> Answer:
    """Its answer."""
    return Answer(prediction_id=f"01999999-9999-7000-8000-{number:012d}", version="v1", **fields)


def positions(entries: list[Entry]) -> list[tuple[str, int]]:
    """Where facts stand."""
    return [(entry.stream, entry.sequence) for entry in entries]


def fill(writer: Writer, count: int, start: int = 0) -> list[int]:
    """Requests with their answers, flushed now and then; the sequences."""
    sequences = []
    for number in range(start, start + count):
        sequences.append(writer.append("churn", request(number), b'{"age": 41}' * 9, 2))
        sequences.append(writer.append("churn", answer(number), b'{"error": "no"}', 4))
        if number % 3 == 0:
            writer.flush()
    writer.flush()
    return sequences


def follow_all(follower: Follower, limit: int = 10_000) -> list[Entry]:
    """Poll until nothing new comes."""
    found: list[Entry] = []
    while got := follower.poll(limit):
        assert len(got) <= limit
        found += got
    return found


def facts_come_back_as_they_were_written(harness: Harness) -> None:
    """Equal, in order, with stream, sequence, time, schema and model around them."""
    writer = harness.journal.open("gateway")
    written: list[tuple[str, Fact]] = [
        (
            "churn",
            request(1, groups={"sex": "f"}, unit="ü-17", arm="candidate", arm_probability=0.1),
        ),
        ("churn", answer(1, status="timeout", latency_us=2**40, transform_hash=b"\x00\xff")),
        ("_", Decision("d1", "catalog", "x", "apply", evidence='{"n": 1}')),
        ("fraud", Outcome("o1", None, "r-1", 0, "redo", value=float("inf"), happened=5)),
        ("fraud", Sample("lag", {"reader": "control"}, 0.5)),
    ]
    sequences = []
    for model, fact in written:
        sequences.append(writer.append(model, fact))
        harness.clock.advance(10)
    writer.flush()
    found = list(harness.journal.read())
    assert [(entry.model, entry.fact) for entry in found] == written
    assert [entry.sequence for entry in found] == sequences == sorted(set(sequences))
    assert [entry.time_us for entry in found] == [START_US + 10 * i for i in range(5)]
    assert {(entry.stream, entry.schema) for entry in found} == {(writer.stream, 1)}
    assert re.fullmatch(r"gateway-[0-9a-f]{12}", writer.stream)


def only_what_was_flushed_is_there(harness: Harness) -> None:
    """A fact in the buffer is nobody's business; flushed, it is everybody's."""
    writer = harness.journal.open("gateway")
    writer.append("churn", request(1))
    assert list(harness.journal.read()) == []
    writer.flush()
    writer.flush()
    writer.append("churn", request(2))
    assert len(list(harness.journal.read())) == 1


def a_killed_writer_loses_its_buffer_and_nothing_else(harness: Harness) -> None:
    """What was flushed stays; the stream is dead."""
    writer = harness.journal.open("gateway")
    sequences = fill(writer, 20)
    writer.append("churn", request(99))
    harness.kill(writer)
    assert [entry.sequence for entry in harness.journal.read()] == sequences
    assert [state.alive for state in harness.journal.streams()] == [False]


def raw_bodies_are_kept_or_left_out(harness: Harness) -> None:
    """``raw=False`` gives the same facts without bodies; empty and large bodies are bodies too."""
    writer = harness.journal.open("gateway")
    bodies = [b"", b"x", b"y" * 3_000_000, bytes(range(256))]
    for number, body in enumerate(bodies):
        writer.append("churn", request(number), body, 1 if body else 0)
    writer.flush()
    assert [entry.raw for entry in harness.journal.read()] == bodies
    assert [entry.raw_format for entry in harness.journal.read()] == [0, 1, 1, 1]
    bare = list(harness.journal.read(raw=False))
    assert [entry.fact for entry in bare] == [request(number) for number in range(4)]
    assert {(entry.raw, entry.raw_format) for entry in bare} == {(b"", 0)}


def a_cursor_goes_on_where_it_stood(harness: Harness) -> None:
    """Behind any position comes the rest; streams that are not in the cursors come whole."""
    first, second = harness.journal.open("gateway"), harness.journal.open("control")
    sequences = fill(first, 15)
    others = fill(second, 3)
    for after in (-1, *sequences):
        found = list(harness.journal.read({first.stream: after}))
        mine = [entry.sequence for entry in found if entry.stream == first.stream]
        assert mine == [sequence for sequence in sequences if sequence > after]
        assert len(found) - len(mine) == len(others)


def kinds_and_models_select(harness: Harness) -> None:
    """Both filters, alone and together; an unknown kind is an error, an unknown model nothing."""
    writer = harness.journal.open("gateway")
    for number in range(4):
        writer.append("churn" if number % 2 else "fraud", request(number))
        writer.append("churn", answer(number))
    writer.flush()
    read = harness.journal.read
    assert len(list(read(kinds=["request"]))) == 4
    assert len(list(read(kinds=["request", "answer"], models=["churn"]))) == 6
    assert len(list(read(models=["fraud"]))) == 2
    assert list(read(models=["nobody"])) == list(read(kinds=[])) == []
    try:
        list(read(kinds=["wish"]))
    except ValueError:
        pass
    else:
        raise AssertionError("an unknown kind was taken")


def beats_tell_how_far_a_stream_is_complete(harness: Harness) -> None:
    """They are no facts, but they move the stream's time and sequence."""
    writer = harness.journal.open("gateway")
    writer.append("churn", request(1))
    harness.clock.advance(500)
    writer.beat()
    writer.flush()
    (state,) = harness.journal.streams()
    assert (state.stream, state.alive, state.last_time_us) == (writer.stream, True, START_US + 500)
    assert len(list(harness.journal.read())) == 1
    follower = harness.journal.follow()
    assert len(follower.poll()) == 1
    assert list(follower.streams()) == [state]
    harness.clock.advance(500)
    writer.beat()
    writer.flush()
    assert follower.poll() == []
    assert [state.last_time_us for state in follower.streams()] == [START_US + 1000]


def a_new_stream_is_complete_up_to_its_beginning(harness: Harness) -> None:
    """Even before its first fact others can see it, and that it lives."""
    writer = harness.journal.open("gateway")
    assert [(s.stream, s.alive, s.last_time_us) for s in harness.journal.streams()] == [
        (writer.stream, True, START_US)
    ]


def time_in_a_stream_never_runs_backwards(harness: Harness) -> None:
    """A clock that steps back is held, for facts and beats."""
    writer = harness.journal.open("gateway")
    for step in (100, -5_000_000, 20, -1, 6_000_000):
        harness.clock.advance(step)
        writer.append("churn", request(1))
        writer.beat()
    writer.flush()
    times = [entry.time_us for entry in harness.journal.read()]
    assert times == [START_US + t for t in (100, 100, 100, 100, 1_000_119)]


def streams_are_their_own(harness: Harness) -> None:
    """Two writers do not disturb each other; closing one leaves the other alive."""
    first, second = harness.journal.open("gateway"), harness.journal.open("gateway")
    assert first.stream != second.stream
    fill(first, 5)
    fill(second, 5)
    first.close()
    first.close()
    alive = {state.stream: state.alive for state in harness.journal.streams()}
    assert alive.get(first.stream, False) is False and alive[second.stream] is True
    second.append("churn", request(77))
    second.sync()
    found = list(harness.journal.read())
    assert len(found) == 21
    streams = [entry.stream for entry in found]
    assert streams == sorted(streams), "streams come one after another"


def a_follower_gets_each_fact_once_and_in_order(harness: Harness) -> None:
    """However small its polls, whatever is sealed between them."""
    writer = harness.journal.open("gateway")
    follower = harness.journal.follow()
    found: list[Entry] = []
    for start in range(0, 60, 10):
        fill(writer, 10, start)
        found += follower.poll(7)
        if start % 20:
            harness.seal()
    found += follow_all(follower, 7)
    assert positions(found) == positions(list(harness.journal.read()))
    assert {entry.raw for entry in found} == {b""}
    assert follower.poll() == []


def a_follower_goes_on_from_its_cursors(harness: Harness) -> None:
    """A reader that was killed misses nothing and sees nothing twice."""
    writer = harness.journal.open("gateway")
    fill(writer, 30)
    follower = harness.journal.follow()
    seen = follower.poll(23)
    cursors = dict(follower.cursors)
    follower.close()
    fill(writer, 10, 30)
    harness.seal()
    seen += follow_all(harness.journal.follow(cursors))
    assert positions(seen) == positions(list(harness.journal.read()))


def a_follower_reads_dead_streams_to_their_end(harness: Harness) -> None:
    """A dead stream is listed until then, and no longer; later streams are found."""
    writer = harness.journal.open("gateway")
    fill(writer, 10)
    harness.kill(writer)
    follower = harness.journal.follow()
    assert len(follower.poll(5)) == 5
    assert [(s.stream, s.alive) for s in follower.streams()] == [(writer.stream, False)]
    assert len(follower.poll()) == 15
    follower.poll()
    assert list(follower.streams()) == []
    harness.clock.advance(1000)
    later = harness.journal.open("control")
    fill(later, 1)
    assert len(follower.poll()) == 2
    assert follower.listed_us == START_US + 1000
    assert [(s.stream, s.alive) for s in follower.streams()] == [(later.stream, True)]


def streams_that_came_and_went_between_two_polls_are_followed(harness: Harness) -> None:
    """Opened, closed and sealed while the follower slept."""
    follower = harness.journal.follow()
    assert follower.poll() == []
    for number in range(3):
        writer = harness.journal.open("cli")
        writer.append("_", Decision(f"d{number}", "catalog", "x", "apply"))
        writer.close()
        harness.seal()
    assert len(follow_all(follower)) == 3
    assert follower.poll() == [] and list(follower.streams()) == []


def sealing_changes_nothing_for_readers(harness: Harness) -> None:
    """Positions, facts and filters are the same before and after, for live and dead streams."""
    live, dead = harness.journal.open("gateway"), harness.journal.open("gateway")
    fill(live, 30)
    fill(dead, 30, 100)
    dead.close()
    before = list(harness.journal.read(raw=False))
    for _ in range(2):
        harness.seal()
        after = list(harness.journal.read(raw=False))
        assert positions(after) == positions(before)
        assert [e.fact for e in after] == [e.fact for e in before]
        some = list(harness.journal.read({dead.stream: 31}, kinds=["answer"], raw=False))
        assert some == [
            e
            for e in before
            if isinstance(e.fact, Answer) and (e.stream != dead.stream or e.sequence > 31)
        ]
        assert positions(follow_all(harness.journal.follow())) == positions(before)


CHECKS: tuple[Callable[[Harness], None], ...] = (
    facts_come_back_as_they_were_written,
    only_what_was_flushed_is_there,
    a_killed_writer_loses_its_buffer_and_nothing_else,
    raw_bodies_are_kept_or_left_out,
    a_cursor_goes_on_where_it_stood,
    kinds_and_models_select,
    beats_tell_how_far_a_stream_is_complete,
    a_new_stream_is_complete_up_to_its_beginning,
    time_in_a_stream_never_runs_backwards,
    streams_are_their_own,
    a_follower_gets_each_fact_once_and_in_order,
    a_follower_goes_on_from_its_cursors,
    a_follower_reads_dead_streams_to_their_end,
    streams_that_came_and_went_between_two_polls_are_followed,
    sealing_changes_nothing_for_readers,
)
