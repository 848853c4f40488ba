"""What every process of redpoll stands on: lock, lifeline, log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from redpoll.errors import RedpollError
from redpoll.host import lifeline, lock, logs
from redpoll.host.process import alive, left_behind

PARENT = """
import os, subprocess, sys, time
code = "from redpoll.host.lifeline import die_with_parent as d; d(); print('set', flush=True); import time; time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def test_one_server_a_folder_and_the_second_is_told_who_has_it(tmp_path: Path) -> None:
    """RP-301 with the pid; once released, or its holder dead, the folder is free."""
    path = tmp_path / "data" / "run" / "lock"
    with lock.acquire(path):
        assert lock.held(path)
        with pytest.raises(RedpollError) as caught:
            lock.acquire(path)
        assert caught.value.code == "RP-301"
        assert f"process {os.getpid()}" in caught.value.message
    assert not lock.held(path)
    assert not lock.held(tmp_path / "none")
    code = f"""
from pathlib import Path
from redpoll.host import lock
held = lock.acquire(Path({str(path)!r}))
print("held", flush=True)
import time
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(RedpollError, match=str(holder.pid)):
            lock.acquire(path)
        holder.kill()
    lock.acquire(path).release()


def test_a_child_dies_with_its_parent() -> None:
    """Killed by the kernel, whatever it was doing."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    end = time.monotonic() + 5
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_end_of_the_lifeline_is_noticed_once() -> None:
    """On the loop; a negative descriptor watches nothing."""

    async def scenario() -> list[str]:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        ours, theirs = lifeline.pipe()
        lifeline.watch(loop, -1, lambda: seen.append("never"))
        lifeline.watch(loop, ours, lambda: seen.append("end"))
        await asyncio.sleep(0.02)
        assert seen == []
        os.close(theirs)
        await asyncio.sleep(0.05)
        os.close(ours)
        return seen

    assert asyncio.run(scenario()) == ["end"]


def test_what_a_killed_server_left_is_found_by_its_folder(tmp_path: Path) -> None:
    """Children carry the folder in their environment; others' children are left alone."""
    code = "import time; print(1, flush=True); time.sleep(60)"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            env={**os.environ, "REDPOLL_CHILD_OF": str(root)},
        )
        for root in (tmp_path, tmp_path / "other")
    ]
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        assert left_behind(tmp_path) == [children[0].pid]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert not alive(children[0].pid)


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.raiseExceptions)
    yield
    root.handlers[:], level, logging.raiseExceptions = before
    root.setLevel(level)


@pytest.mark.usefixtures("restored_logging")
def test_a_log_line_is_one_line_and_carries_its_request(capsys: pytest.CaptureFixture[str]) -> None:
    """A message with line breaks cannot forge another line."""
    logs.setup("info", "text", "gateway")
    log = logging.getLogger("redpoll.test")
    log.debug("too quiet")
    log.info("one\n2026 error forged", extra={"request_id": "r-1"})
    token = logs.request_id.set("r-2")
    log.warning("two")
    logs.request_id.reset(token)
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("three")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("one\\n2026 error forged request_id=r-1")
    assert " info " in lines[0]
    assert " gateway " in lines[0]
    assert lines[1].endswith("two request_id=r-2")
    assert lines[2].endswith("three")
    assert all(line.startswith("  | ") for line in lines[3:])
    assert lines[-1] == "  | ValueError: bad"


@pytest.mark.usefixtures("restored_logging")
def test_a_json_log_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With the same facts, the traceback among them."""
    logs.setup("debug", "json", "control")
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        logging.getLogger("x").exception("oh", extra={"request_id": "r-3"})
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["message"], found["level"], found["process"]) == ("oh", "error", "control")
    assert found["request_id"] == "r-3"
    assert found["traceback"].endswith("thing")


def test_the_end_of_a_workers_stderr_is_read_without_the_rest(tmp_path: Path) -> None:
    """At most a quarter of a megabyte, whole lines; a file that is not there is empty."""
    path = tmp_path / "log"
    assert logs.tail(path) == ""
    path.write_text("".join(f"line {i}\n" for i in range(100_000)))
    assert logs.tail(path, 2) == "line 99998\nline 99999"
    assert logs.of_prediction(path, "line 5\n") == ""


def test_a_zombie_is_not_alive() -> None:
    """``alive`` says whether a process runs, not whether its number is taken."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert alive(child.pid)
    child.send_signal(signal.SIGKILL)
    end = time.monotonic() + 5
    while alive(child.pid):
        assert time.monotonic() < end
        time.sleep(0.01)
    child.wait()
