"""Any history of writers, rotations, deaths, seals and torn ends reads as what was flushed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redpoll.clock import SimClock
from redpoll.facts import Answer
from redpoll.host.paths import DataDir
from redpoll.journal.files import FileJournal, FileWriter
from redpoll.journal.query import query
from redpoll.sealer.service import Sealer
from redpoll.testing.journals import START_US, answer, follow_all, positions, request
from tests.journal.support import wal_files


class History(RuleBasedStateMachine):
    """``flushed`` is what must be readable; a follower and a sealer live through all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = SimClock(START_US)
        self.data = DataDir(self.folder.name).make()
        self.journal = FileJournal(self.data, self.clock, rotate_bytes=1500, rotate_us=5_000_000)
        self.sealer = Sealer(self.data, self.journal, self.clock)
        self.follower = self.journal.follow()
        self.followed: list[tuple[str, int]] = []
        self.writers: list[tuple[FileWriter, list[tuple[str, int]]]] = []
        self.flushed: list[tuple[str, int]] = []
        self.number = 0

    def teardown(self) -> None:
        """Everything once more, by every way of reading."""
        self.followed += positions(follow_all(self.follower))
        self.follower.close()
        assert sorted(self.followed) == sorted(self._read())
        found = query(
            self.data,
            "SELECT stream, sequence FROM request UNION ALL SELECT stream, sequence FROM answer",
        )
        assert sorted(found.rows) == sorted(self._read())
        for writer, _ in self.writers:
            writer.abandon()
        self.sealer.close()
        self.folder.cleanup()

    @rule(role=st.sampled_from(["gateway", "control"]))
    def open(self, role: str) -> None:
        """A process starts."""
        if len(self.writers) < 3:
            self.writers.append((self.journal.open(role), []))

    @precondition(lambda self: self.writers)
    @rule(
        data=st.data(), count=st.integers(1, 12), answered=st.booleans(), size=st.integers(0, 400)
    )
    def append(self, data, count: int, answered: bool, size: int) -> None:
        """Facts of different models, in the buffer."""
        writer, buffered = data.draw(st.sampled_from(self.writers))
        for _ in range(count):
            self.number += 1
            self.clock.advance(1_000)
            model = "churn" if self.number % 3 else "fraud"
            fact = request(self.number)
            buffered.append((writer.stream, writer.append(model, fact, b"x" * size, 1)))
            if answered:
                sequence = writer.append(model, answer(self.number), b"no", 4)
                buffered.append((writer.stream, sequence))

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), beat=st.booleans())
    def flush(self, data, beat: bool) -> None:
        """One write."""
        writer, buffered = data.draw(st.sampled_from(self.writers))
        if beat:
            writer.beat()
        writer.flush()
        self.flushed += buffered
        buffered.clear()

    @rule(us=st.integers(-2_000_000_000, 4_000_000_000))
    def clock_moves(self, us: int) -> None:
        """Also backwards, also over hours."""
        self.clock.advance(us)

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), torn=st.integers(0, 400))
    def kill(self, data, torn: int) -> None:
        """A process dies; of what it was writing some bytes may have arrived."""
        at = data.draw(st.integers(0, len(self.writers) - 1))
        writer, buffered = self.writers.pop(at)
        partial = b"".join(writer._buffer)[:torn]
        path = writer._path
        writer.abandon()
        with path.open("ab") as file:
            file.write(partial)
        # Whole frames among those bytes are facts as good as any.
        known = set(self.flushed)
        arrived = {p for p in self._read() if p[0] == writer.stream} - known
        assert sorted(arrived) == buffered[: len(arrived)]
        self.flushed += sorted(arrived)

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def close(self, data) -> None:
        """A process ends in peace."""
        at = data.draw(st.integers(0, len(self.writers) - 1))
        writer, buffered = self.writers.pop(at)
        writer.close()
        self.flushed += buffered

    @rule()
    def seal(self) -> None:
        """A round of the sealer."""
        self.sealer.round()

    @rule()
    def sealer_starts_again(self) -> None:
        """Its memory is lost."""
        self.sealer.close()
        self.sealer = Sealer(self.data, self.journal, self.clock)

    @rule(limit=st.integers(1, 40))
    def poll(self, limit: int) -> None:
        """The follower gets something."""
        self.followed += positions(self.follower.poll(limit))

    @rule()
    def follower_starts_again(self) -> None:
        """From the cursors that it had."""
        cursors = dict(self.follower.cursors)
        self.follower.close()
        self.follower = self.journal.follow(cursors)

    @invariant()
    def what_is_read_is_what_was_flushed(self) -> None:
        """Each once, in order, and nothing else but the sealer's own answers."""
        found = self._read()
        mine = [p for p in found if not p[0].startswith("sealer-")]
        assert sorted(mine) == sorted(self.flushed)
        assert found == sorted(found) and len(set(found)) == len(found)
        assert len(set(self.followed)) == len(self.followed)

    @invariant()
    def a_dead_stream_leaves_no_request_open_once_it_is_sealed(self) -> None:
        """Each has one live answer, its own or the sealer's."""
        alive = {writer.stream for writer, _ in self.writers}
        waiting = {path.name.rsplit("-", 1)[0] for path in wal_files(Path(self.folder.name))}
        asked, answered = set(), []
        for entry in self.journal.read(raw=False):
            if isinstance(entry.fact, Answer):
                answered.append(entry.fact.prediction_id)
            elif entry.stream not in alive | waiting:
                asked.add(entry.fact.prediction_id)
        assert asked <= set(answered) and len(set(answered)) == len(answered)

    def _read(self) -> list[tuple[str, int]]:
        return positions(list(self.journal.read(raw=False)))


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
