"""Clocks that step: forwards, backwards, over hours, again and again."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.clock import SimClock, hour
from redpoll.journal.files import FileJournal
from redpoll.testing.journals import START_US, FilesHarness, follow_all, positions, request
from tests.journal.support import wal_files

HOUR_US = 3_600_000_000


@given(steps=st.lists(st.integers(-9 * HOUR_US, 9 * HOUR_US), min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_any_steps_leave_a_streams_time_in_order_and_every_fact_in_its_hour(
    steps: list[int],
) -> None:
    """Read live, followed, and sealed; a file's folder is the hour of each of its facts."""
    with tempfile.TemporaryDirectory() as folder:
        harness = FilesHarness(Path(folder))
        writer = harness.journal.open("gateway")
        follower = harness.journal.follow()
        for number, step in enumerate(steps):
            harness.clock.advance(step)
            writer.append("churn", request(number), b"x" * 300, 1)
            writer.beat()
            writer.flush()
            if number % 7 == 3:
                harness.seal()
        live = [entry.time_us for entry in harness.journal.read(kinds=["request"])]
        assert live == sorted(live) and len(live) == len(steps)
        followed = [one for one in follow_all(follower) if one.stream == writer.stream]
        follower.close()
        assert positions(followed) == positions(list(harness.journal.read(kinds=["request"])))
        writer.close()
        harness.seal()
        found = list(harness.journal.read(kinds=["request"]))
        assert [entry.time_us for entry in found] == live
        for segment in harness.journal.layout.segments(["request"]):
            inside = [e for e in found if segment.first <= e.sequence <= segment.last]
            assert {hour(entry.time_us) for entry in inside} == {segment.hour}
        harness.sealer.close()


def test_a_clock_that_was_set_back_is_said_and_its_files_still_rotate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By age on the clock as it is: else nothing were sealed until it has caught up."""
    clock = SimClock(START_US)
    journal = FileJournal(tmp_path, clock, rotate_us=30_000_000)
    stream = journal.open("gateway")
    stream.append("churn", request(1))
    stream.flush()
    assert stream.held_now_us == 0
    clock.advance(-HOUR_US)
    with caplog.at_level(logging.WARNING):
        for number in range(2, 7):
            stream.append("churn", request(number))
            stream.flush()
            clock.advance(31_000_000)
    assert caplog.text.count("the clock was set back by 3600.0 s") == 1
    assert stream.held_now_us == HOUR_US - 5 * 31_000_000
    assert stream.held_us == HOUR_US
    assert len(wal_files(tmp_path)) >= 4
    assert {entry.time_us for entry in journal.read()} == {START_US}
    clock.advance(HOUR_US)
    stream.append("churn", request(7))
    stream.flush()
    assert stream.held_now_us == 0 and list(journal.read())[-1].time_us > START_US
