"""kill -9 in earnest: what a process has been told is flushed is there, once."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from redpoll.host.paths import DataDir
from redpoll.journal.files import FileJournal
from tests.journal.support import positions

WRITER = """
import sys
from redpoll.facts import Answer, Request
from redpoll.journal.files import FileJournal
writer = FileJournal(sys.argv[1], rotate_bytes=40_000).open("gateway")
sys.stdout.write(writer.stream + "\\n")
number = 0
while True:
    for _ in range(7):
        number += 1
        name = f"{writer.stream}-{number}"
        writer.append("churn", Request(name, "", 1), b'{"age": 41}' * 30, 2)
        last = writer.append("churn", Answer(name, "v1"), b'{"churn": 1}', 3)
    writer.flush()
    sys.stdout.write(f"{last}\\n")
    sys.stdout.flush()
"""
SEALER = "import runpy; runpy.run_module('redpoll.sealer', run_name='__main__')"


def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def test_every_flushed_fact_survives_thirty_kills_of_writers_and_sealers(tmp_path: Path) -> None:
    """Writers are killed at random moments while a sealer, killed too, works beside them."""
    chance = random.Random(4)
    data = DataDir(tmp_path).make()
    told: dict[str, int] = {}
    sealer = start(SEALER, "--data-dir", str(tmp_path))
    follower = FileJournal(tmp_path).follow()
    followed: list[tuple[str, int]] = []
    try:
        for kill in range(30):
            child = start(WRITER, str(tmp_path))
            assert child.stdout is not None
            stream = child.stdout.readline().decode().strip()
            time.sleep(chance.uniform(0, 0.03))
            os.kill(child.pid, signal.SIGKILL)
            lines = child.stdout.read().split(b"\n")
            child.wait()
            child.stdout.close()
            told[stream] = int(lines[-2]) if len(lines) > 1 else 0  # the last whole line
            if kill % 5 == 4:
                sealer.kill()
                sealer.communicate()
                sealer = start(SEALER, "--data-dir", str(tmp_path))
            followed += positions(follower.poll())
        found = list(FileJournal(tmp_path).read(raw=False))
        deadline = time.monotonic() + 120
        while any((data.wal).glob("gateway-*.wal")):
            assert time.monotonic() < deadline, "the sealer does not get done"
            time.sleep(0.05)
            followed += positions(follower.poll())
    finally:
        sealer.kill()
        sealer.communicate()
    after = [e for e in FileJournal(tmp_path).read(raw=False) if e.stream in told]
    while got := follower.poll():
        followed += positions(got)
    mine = [e for e in found if e.stream in told]
    assert positions(mine) == positions(after) == [p for p in sorted(followed) if p[0] in told]
    assert len(set(positions(mine))) == len(mine)
    assert len(told) == 30 and sum(told.values()) > 1000
    for stream, last in told.items():
        got_there = [e for e in mine if e.stream == stream]
        assert not last or got_there[-1].sequence >= last
        prediction_ids = [(type(e.fact), e.fact.prediction_id) for e in got_there]
        assert len(set(prediction_ids)) == len(prediction_ids)
        for first, second in itertools.pairwise(got_there):
            gap = second.sequence - first.sequence
            assert gap == 1 or gap == 2, "only the empty frame that begins a file may lie between"


def test_a_stream_lives_as_long_as_its_process(tmp_path: Path) -> None:
    """Seen from another process, through rotations too; and after its death it is dead."""
    child = start(WRITER, str(tmp_path))
    assert child.stdout is not None
    child.stdout.readline()
    journal = FileJournal(tmp_path)
    follower = journal.follow()
    for _ in range(50):
        follower.poll()
        assert [state.alive for state in follower.streams()] == [True]
        assert [state.alive for state in journal.streams()] == [True]
    child.kill()
    child.communicate()
    while follower.poll():
        pass
    assert list(follower.streams()) == []
    assert [state.alive for state in journal.streams()] == [False]
