"""Files that rotate, are sealed or die between two of a reader's steps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from redpoll.journal import follower as following
from redpoll.journal import reader as reading
from redpoll.journal.frames import Wanted
from redpoll.journal.layout import Layout
from redpoll.journal.ledger import LedgerReader
from redpoll.journal.wal import WalReader
from redpoll.sealer import service
from redpoll.testing.journals import FilesHarness, fill, follow_all, positions, request


@pytest.fixture
def harness(tmp_path: Path) -> FilesHarness:
    return FilesHarness(tmp_path)


def before(monkeypatch, where, name: str, action, times: int = 1) -> None:
    """Let ``action`` happen just before the next ``times`` calls of a function."""
    real = getattr(where, name)
    left = [times]

    def called(*arguments, **more):
        if left[0]:
            left[0] -= 1
            action()
        return real(*arguments, **more)

    monkeypatch.setattr(where, name, called)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_a_frame_that_comes_while_its_place_is_looked_at_is_no_damage(
    harness: FilesHarness, monkeypatch, raw: bool, begun: bool
) -> None:
    """Nothing was there, or the half of it, when the file was read; a moment later it is all there."""
    writer = harness.journal.open("gateway")
    writer.append("churn", request(1), b"body", 1)
    writer.flush()
    reader = WalReader(harness.journal.layout.wals()[writer.stream][0], Wanted(raw=raw))
    path = writer._path
    size = path.stat().st_size
    writer.append("churn", request(2), b"x" * 300, 1)
    writer.append("churn", request(3))
    writer.flush()
    whole = path.read_bytes()
    os.truncate(path, size + (60 if begun else 0))
    before(monkeypatch, WalReader, "_pass_over", lambda: path.write_bytes(whole))
    found: list[int] = []
    while got := reader.batch(10):
        found += [entry.sequence for entry in got]
    assert found == [1, 2, 3] and not reader.damage and not reader.problem
    reader.close()
    writer.close()


def test_a_stream_that_rotates_while_it_is_looked_at_is_not_taken_for_dead(
    harness: FilesHarness, monkeypatch
) -> None:
    """Its old file is let go of after the listing: neither sealer nor follower buries the living."""
    writer = harness.journal.open("gateway")
    writer.append("churn", request(1))
    writer.flush()

    def rotate() -> None:
        writer.append("churn", request(2), b"x" * 3000, 1)
        writer.sync()

    follower = harness.journal.follow()
    before(monkeypatch, following, "path_locked", rotate)
    assert len(follower.poll()) == 2
    assert [state.alive for state in follower.streams()] == [True]
    before(monkeypatch, service, "_locked", rotate)
    harness.seal()
    assert harness.sealer is not None and harness.sealer.lost_requests == 0
    harness.kill(writer)
    harness.seal()
    assert harness.sealer.lost_requests == 2, "the same request twice, and another"
    assert len(follow_all(follower)) == 3


@pytest.mark.parametrize("step", ["wals", "news", "open"])
def test_a_follower_loses_nothing_to_a_seal_between_its_steps(
    step: str, harness: FilesHarness, monkeypatch
) -> None:
    """Before its listing, between listing and ledger, and before it opens what it has listed."""
    where = {
        "wals": (Layout, "wals"),
        "news": (LedgerReader, "news"),
        "open": (following, "WalReader"),
    }
    writer = harness.journal.open("gateway")
    follower = harness.journal.follow()
    follower.poll()
    harness.seal()
    fill(writer, 20)
    other = harness.journal.open("cli")
    fill(other, 3, 100)
    other.close()
    before(monkeypatch, *where[step], harness.seal)
    seen = follower.poll(7)
    assert writer.stream in [state.stream for state in follower.streams() if state.alive]
    seen += follow_all(follower)
    assert sorted(positions(seen)) == positions(list(harness.journal.read()))
    assert len(seen) == 46


@pytest.mark.parametrize("step", ["segments", "open", "late"])
def test_a_reader_loses_nothing_to_a_seal_between_its_steps(
    step: str, harness: FilesHarness, monkeypatch
) -> None:
    """Before segments are listed, before a file is opened, and in the middle of a stream."""
    writer = harness.journal.open("gateway")
    other = harness.journal.open("control")
    fill(other, 8, 200)
    fill(writer, 20)
    writer.close()
    if step == "late":
        entries = harness.journal.read()
        found = [next(entries) for _ in range(20)]
        harness.seal()
        found += entries
    else:
        where = {"segments": (Layout, "segments"), "open": (reading, "WalReader")}
        before(monkeypatch, *where[step], harness.seal)
        found = list(harness.journal.read())
    assert len(set(positions(found))) == len(found) == 56
    assert positions(found) == sorted(positions(found))
