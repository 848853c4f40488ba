"""Sealing loses nothing and doubles nothing, wherever it stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redpoll.facts import Answer, Sample
from redpoll.journal import frames, layout, ledger, parquet
from redpoll.sealer import sealing, service
from redpoll.sealer.service import Sealer
from redpoll.testing.journals import FilesHarness, answer, fill, follow_all, positions, request


@pytest.fixture
def harness(tmp_path: Path) -> FilesHarness:
    return FilesHarness(tmp_path)


def sealer(harness: FilesHarness) -> Sealer:
    return Sealer(harness.data, harness.journal, harness.clock)


def wals(harness: FilesHarness) -> list[str]:
    return sorted(path.name for path in harness.data.wal.glob("*.wal"))


def test_rotated_files_are_sealed_and_the_open_one_is_left(harness: FilesHarness) -> None:
    """A live stream keeps its newest file; a dead one keeps none; empty frames leave no file."""
    writer = harness.journal.open("gateway")
    fill(writer, 20)
    assert len(wals(harness)) > 2
    one = sealer(harness)
    sealed = one.round()
    assert wals(harness) == [f"{writer.stream}-{wals(harness)[0].rsplit('-', 1)[1]}"]
    assert 0 < sealed < 40 and one.round() == 0
    writer.close()
    assert one.round() == 40 - sealed
    assert wals(harness) == []
    harness.journal.open("control").close()
    assert one.round() == 0 and wals(harness) == []
    assert not list(harness.data.journal.rglob("*.tmp"))
    assert (one.lost_requests, one.damaged_files, one.failures) == (0, 0, 0)


def test_models_and_hours_have_folders_of_their_own(harness: FilesHarness) -> None:
    """By write time; a file that spans hours and models is taken apart."""
    writer = harness.journal.open("gateway")
    for number in range(4):
        writer.append("churn" if number % 2 else "fraud", Sample("lag", {}, number))
        harness.clock.advance(3_600_000_000)
    writer.close()
    sealer(harness).round()
    folders = {
        path.parent.relative_to(harness.data.journal).as_posix()
        for path in harness.data.journal.rglob("*.parquet")
    }
    assert folders == {
        "sample/model=fraud/hour=2026-09-21T14",
        "sample/model=churn/hour=2026-09-21T15",
        "sample/model=fraud/hour=2026-09-21T16",
        "sample/model=churn/hour=2026-09-21T17",
    }
    assert len(list(harness.journal.read(models=["fraud"]))) == 2


def test_a_segment_has_at_most_its_bound_of_rows(harness: FilesHarness, monkeypatch) -> None:
    """A larger file becomes several, each named by its own ends."""
    monkeypatch.setattr(sealing, "BATCH", 8)
    monkeypatch.setattr(parquet, "ROWS_MAX", 20)
    writer = harness.journal.open("control")
    for number in range(50):
        writer.append("_", Sample("lag", {}, number))
    writer.close()
    sealer(harness).round()
    names = sorted(
        path.name.removeprefix(writer.stream) for path in harness.data.journal.rglob("*.parquet")
    )
    assert names == ["-1-16.parquet", "-17-32.parquet", "-33-50.parquet"]
    assert [entry.fact.value for entry in harness.journal.read()] == list(range(50))


class Killed(BaseException):
    """The process ended here."""


STEPS = [
    (parquet.pq, "write_table"),
    (parquet, "sync_folder"),
    (sealing, "sync_tree"),
    (service.Sealer, "_tell"),
    (sealing, "remove"),
    (service.orphans, "closed_already"),
    (service.orphans, "lost"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("where", "name"), STEPS, ids=[name for _, name in STEPS])
def test_killed_at_any_step_and_started_again(
    where, name: str, after: bool, harness: FilesHarness, monkeypatch
) -> None:
    """Before or after each step, at its first, second, … time.

    Every fact is read once throughout, and each unanswered request is closed once.
    """
    writer, live = harness.journal.open("gateway"), harness.journal.open("gateway")
    fill(writer, 12)
    fill(live, 12, 50)
    for number in (100, 101):
        writer.append("churn", request(number, draws='[{"purpose":"route","choice":"v2"}]'))
    writer.flush()
    harness.kill(writer)
    written = positions(list(harness.journal.read()))
    follower = harness.journal.follow()
    seen = follower.poll(5)
    real = getattr(where, name)
    for kill_at in range(1, 40):
        calls = 0

        def step(*arguments, kill_at=kill_at, **more):
            nonlocal calls
            calls += 1
            if calls == kill_at and not after:
                raise Killed
            result = real(*arguments, **more)
            if calls == kill_at:
                raise Killed
            return result

        monkeypatch.setattr(where, name, step)
        one = sealer(harness)
        try:
            one.round()
        except Killed:
            done = False
        else:
            done = True
        if one._writer is not None:
            one._writer.abandon()
        monkeypatch.undo()
        found = [
            p for p in positions(list(harness.journal.read())) if not p[0].startswith("sealer")
        ]
        assert found == written
        seen += follower.poll(3)
        if done:
            break
    assert done and kill_at > 1, "the step was never met"
    final = sealer(harness)
    final.round()
    final.close()
    seen += follow_all(follower)
    lost = [e for e in harness.journal.read() if e.stream.startswith("sealer")]
    assert sorted((e.fact.prediction_id[-3:], e.fact.status, e.fact.version) for e in lost) == [
        ("100", "lost", "v2"),
        ("101", "lost", "v2"),
    ]
    everything = positions(list(harness.journal.read()))
    assert sorted(positions(seen)) == everything and len(set(everything)) == len(everything)
    assert [name for name in wals(harness) if name.startswith(writer.stream)] == []


def test_a_full_disk_is_waited_for(harness: FilesHarness, monkeypatch) -> None:
    """The stream is tried again later, others go on, and nothing is lost."""
    monkeypatch.setattr(service, "RETRY_S", 0.0)
    writer, other = harness.journal.open("gateway"), harness.journal.open("control")
    fill(writer, 10)
    other.append("_", Sample("lag"))
    writer.close()
    other.close()
    real = parquet.pq.write_table

    def full(table, *arguments, **more):
        if "prediction_id" in table.schema.names:
            raise OSError(28, "No space left on device")
        real(table, *arguments, **more)

    monkeypatch.setattr(parquet.pq, "write_table", full)
    one = sealer(harness)
    one.round()
    assert one.sealed_facts == 1 and one.failures == 1
    assert len(list(harness.journal.read())) == 21
    monkeypatch.undo()
    one.round()
    assert one.sealed_facts == 21 and wals(harness) == []


def test_a_dead_streams_torn_end_is_mended(harness: FilesHarness) -> None:
    """What its writer had not finished is left out, without alarm; zeros of a power cut as well."""
    for tail in (b"\x01\x02\x03", b"\0" * 5000):
        writer = harness.journal.open("gateway")
        written = fill(writer, 1)
        path = writer._path
        harness.kill(writer)
        with path.open("ab") as file:
            file.write(tail)
        one = sealer(harness)
        one.round()
        assert one.damaged_files == 0 and wals(harness) == []
        found = [e.sequence for e in harness.journal.read() if e.stream == writer.stream]
        assert found == written


def test_a_stream_that_was_torn_at_any_byte_is_sealed_up_to_there(tmp_path: Path) -> None:
    """At every byte of two frames: no damage is said, and no request stays open."""
    source = FilesHarness(tmp_path / "source", rotate_bytes=1 << 20)
    writer = source.journal.open("gateway")
    fill(writer, 1)
    start = writer._path.stat().st_size
    fill(writer, 1, 1)
    writer.abandon()
    content = writer._path.read_bytes()
    for cut in range(start, len(content), 3):
        harness = FilesHarness(tmp_path / str(cut))
        harness.data.wal.mkdir(parents=True)
        (harness.data.wal / writer._path.name).write_bytes(content[:cut])
        one = sealer(harness)
        one.round()
        one.close()
        assert (one.damaged_files, one.failures, wals(harness)[1:]) == (0, 0, [])
        found = [e.sequence for e in harness.journal.read() if e.stream == writer.stream]
        assert found in ([1, 2], [1, 2, 3])
        assert one.lost_requests == len(found) - 2


@pytest.mark.parametrize("where", ["fact", "length", "body"])
def test_damage_costs_its_frame_and_is_set_aside(where: str, harness: FilesHarness, caplog) -> None:
    """What stands around it is sealed, the file is kept, said and counted; the next file is sealed."""
    writer = harness.journal.open("gateway")
    sequences = fill(writer, 20)
    harness.kill(writer)
    first = harness.data.wal / f"{writer.stream}-0.wal"
    content = bytearray(first.read_bytes())
    at = 16 + frames.FRAME_BYTES  # the first fact's frame
    head = frames.FRAME.unpack_from(content, at)
    content[
        at + {"fact": 45, "length": 7, "body": frames.FRAME_BYTES + 5 + head[1] + 3}[where]
    ] ^= 0x40
    first.write_bytes(content)
    one = sealer(harness)
    one.round()
    assert one.damaged_files == 1 and wals(harness) == []
    assert [path.name for path in harness.data.wal.glob("*.bad")] == [f"{writer.stream}-0.wal.bad"]
    assert "is damaged" in caplog.text and f"{writer.stream}-0.wal.bad" in caplog.text
    found = [e.sequence for e in harness.journal.read() if e.stream == writer.stream]
    assert found == sequences[1:] and "frame 1 is damaged (bytes 52 to" in caplog.text


def test_a_wrong_length_at_a_dead_streams_end_is_damage_not_a_torn_end(
    harness: FilesHarness,
) -> None:
    """Good frames follow it, so it was not cut off there."""
    harness = FilesHarness(harness.data.root, rotate_bytes=1 << 20)
    writer = harness.journal.open("gateway")
    fill(writer, 5)
    path = writer._path
    harness.kill(writer)
    content = bytearray(path.read_bytes())
    content[16 + frames.FRAME_BYTES + 7] ^= 0x40
    path.write_bytes(content)
    one = sealer(harness)
    one.round()
    assert one.damaged_files == 1


def test_a_fact_that_fits_no_column_keeps_no_other_out(harness: FilesHarness) -> None:
    """It stays in the file that is set aside."""
    writer = harness.journal.open("gateway")
    for number, attempts in enumerate((1, 70_000, 2)):
        writer.append("churn", answer(number, attempts=attempts))
    writer.close()
    one = sealer(harness)
    one.round()
    assert [e.fact.attempts for e in harness.journal.read()] == [1, 2]
    assert one.damaged_files == 1 and len(list(harness.data.wal.glob("*.bad"))) == 1


@pytest.mark.parametrize("ledger_lost", [False, True])
def test_a_sealer_started_anew_knows_what_waits_for_an_answer(
    ledger_lost: bool, harness: FilesHarness
) -> None:
    """From the ledger, or, where that is lost, from the sealed files; followers lose nothing."""
    writer = harness.journal.open("gateway")
    follower = harness.journal.follow()
    writer.append("churn", request(900, version_requested="v7"))
    fill(writer, 20)
    seen = follower.poll(3)
    sealer(harness).round()
    fill(writer, 5, 20)
    harness.kill(writer)
    if ledger_lost:
        harness.data.wal.joinpath(layout.LEDGER).unlink()
    one = sealer(harness)
    one.round()
    one.close()
    seen += follow_all(follower)
    assert positions(seen) == positions(list(harness.journal.read()))
    (lost,) = [e.fact for e in harness.journal.read(kinds=["answer"]) if e.fact.status == "lost"]
    assert (lost.prediction_id[-3:], lost.version) == ("900", "v7")


def test_the_ledger_forgets_streams_that_are_gone(harness: FilesHarness) -> None:
    """A sealer's start leaves in it what still matters; torn lines hurt nobody."""
    live = harness.journal.open("gateway")
    for _ in range(3):
        fill(harness.journal.open("gateway"), 5)
    fill(live, 20)
    sealer(harness).round()
    with harness.data.wal.joinpath(layout.LEDGER).open("ab") as file:
        file.write(b'{"stream":"gate')
    one = sealer(harness)
    fill(live, 20, 20)
    one.round()
    lines = ledger.parse(harness.data.wal.joinpath(layout.LEDGER).read_bytes())
    assert {line.stream for line in lines} >= {live.stream}
    for line in lines:
        for relative in line.segments:
            assert (harness.data.journal / relative).is_file()
    raw = harness.data.wal.joinpath(layout.LEDGER).read_text().split("\n")
    assert all(json.loads(one) for one in raw if one)


def test_answers_of_other_roles_do_not_close_a_request(harness: FilesHarness) -> None:
    """Only a live one does; what is lost has the time from the request to the stream's end."""
    writer = harness.journal.open("gateway")
    writer.append(
        "churn",
        request(1, draws='[{"purpose":"route","choice":"v1"},{"purpose":"route","choice":"v3"}]'),
    )
    writer.append("churn", answer(1, role="shadow"))
    writer.append("churn", request(2, draws="not json"))
    writer.append("churn", request(3))
    writer.append("churn", answer(3))
    harness.clock.advance(250_000)
    writer.beat()
    writer.flush()
    harness.kill(writer)
    one = sealer(harness)
    one.round()
    lost = [e for e in harness.journal.read(kinds=["answer"]) if e.stream.startswith("sealer-")]
    assert [e.fact for e in lost] == [
        Answer(request(number).prediction_id, version, "live", "lost", latency_us=250_000)
        for number, version in ((1, "v3"), (2, "_"))
    ]
    assert one.lost_requests == 2 and {e.model for e in lost} == {"churn"}
