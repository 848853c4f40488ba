"""The sealer as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from redpoll.host.counters import render
from redpoll.host.paths import DataDir
from redpoll.journal.files import FileJournal
from redpoll.testing.journals import fill, request


def start(data: DataDir, *arguments: str, **more) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "redpoll.sealer", "--data-dir", str(data.root), *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **more)


def wait(what, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_it_seals_says_its_numbers_and_ends_when_told(tmp_path: Path) -> None:
    """A dead stream's file goes within seconds; SIGTERM is exit 0; idle it costs next to nothing."""
    data = DataDir(tmp_path).make()
    child = start(data)
    try:
        writer = FileJournal(data).open("gateway")
        fill(writer, 10)
        writer.append("churn", request(99))
        writer.close()
        wait(lambda: not list(data.wal.glob("gateway-*.wal")))
        wait((data.metrics / "sealer.json").is_file)
        assert len(list(FileJournal(data).read())) == 22, "and one answer lost"
        process = psutil.Process(child.pid)
        before = process.cpu_times()
        time.sleep(1.0)
        after = process.cpu_times()
        assert after.user + after.system - before.user - before.system < 0.15
        child.send_signal(signal.SIGTERM)
        _, stderr = child.communicate(timeout=10)
        assert child.returncode == 0
        assert stderr.count(b"\n") == 1 and b"1 requests unanswered: closed as lost" in stderr
        assert b'redpoll_journal_facts_total{fact="answer"} 1' in render(data.metrics)
    finally:
        child.kill()
        child.communicate()


def test_it_ends_with_its_supervisor_and_the_next_waits_for_it(tmp_path: Path) -> None:
    """The lifeline's end ends it; a second one on the folder begins when the first is gone."""
    data = DataDir(tmp_path).make()
    read_end, write_end = os.pipe()
    # Not die_with_parent's business: this test is the parent, and lives.
    first = start(data, "--lifeline", str(read_end), pass_fds=[read_end])
    os.close(read_end)
    wait((data.metrics / "sealer.json").is_file)
    second = start(data)
    try:
        time.sleep(0.5)
        assert second.poll() is None
        os.close(write_end)
        first.communicate(timeout=10)
        assert first.returncode == 0
        writer = FileJournal(data).open("gateway")
        fill(writer, 3)
        writer.close()
        wait(lambda: not list(data.wal.glob(f"{writer.stream}*")))
        second.send_signal(signal.SIGTERM)
        second.communicate(timeout=10)
        assert second.returncode == 0
    finally:
        for child in (first, second):
            child.kill()
            child.communicate()
