"""The demo, whole, as a stranger runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.served import environment

LIMIT_S = 420  # a machine busy with other tests takes a multiple of a quiet one's 45 s


@pytest.mark.slow
def test_the_good_version_is_promoted_and_the_bad_one_rolled_back(tmp_path: Path) -> None:
    """Exit code 0, the words that say so, and a journal that tells the same afterwards."""
    folder = tmp_path / "demo"
    redpoll = [sys.executable, "-m", "redpoll"]
    done = subprocess.run(
        [*redpoll, "demo", "--fast", "--act", "errors", "--json", "--folder", str(folder)],
        capture_output=True, text=True, timeout=LIMIT_S, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    story = json.loads(done.stdout)
    assert story["ok"] and story["clean_exit"]
    assert [(act["version"], act["state"]) for act in story["acts"]] == [
        ("v2", "promoted"), ("v3", "rolled_back"),
    ]  # fmt: skip
    assert story["outcomes"] > 500
    for words in ("PROMOTED: v2 promoted", "ROLLED BACK: v3 rolled back to v2", "console: http"):
        assert words in done.stderr
    # What it prints at its end works.
    sql = (
        "SELECT a.version, count(*) AS n, avg((a.status <> 'ok')::int) AS bad FROM answer a "
        "WHERE a.role = 'live' AND a.version <> '' GROUP BY 1"
    )
    config = str(folder / "redpoll.toml")
    told = subprocess.run(
        [*redpoll, "log", "query", "-c", config, sql, "--json"],
        capture_output=True, text=True, timeout=120, env=environment(), check=True,
    )  # fmt: skip
    by_version = {row["version"]: row for row in json.loads(told.stdout)}
    assert sum(row["n"] for row in by_version.values()) >= story["requests"]
    assert by_version["v1"]["bad"] < 0.02
    assert by_version["v3"]["bad"] > 0.02
    again = subprocess.run(
        [*redpoll, "rollout", "verify", "income", "-c", config],
        capture_output=True, text=True, timeout=120, env=environment(), check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "number", "whole_group", "code", "said"),
    [
        ("Training", signal.SIGINT, True, 130, "Ctrl-C: ending before the end"),
        ("redpoll serve is up", signal.SIGTERM, False, 143, "SIGTERM: ending before the end"),
    ],
)
def test_ended_from_outside_it_takes_its_server_along(
    tmp_path: Path, words: str, number: int, whole_group: bool, code: int, said: str
) -> None:
    """In order: the reason in a line, no traceback, the signal's exit code, no process left."""
    folder, told = tmp_path / "demo", tmp_path / "told"
    with told.open("wb") as stream:
        demo = subprocess.Popen(
            [sys.executable, "-m", "redpoll", "demo", "--fast", "--folder", str(folder)],
            stdout=stream, stderr=stream, env=environment(), start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + LIMIT_S / 4
        while words not in told.read_text() and demo.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        assert demo.poll() is None and words in told.read_text(), told.read_text()
        (os.killpg if whole_group else os.kill)(demo.pid, number)
        assert demo.wait(60) == code, told.read_text()
    finally:
        demo.kill()
        demo.wait()
    assert said in told.read_text() and "Traceback" not in told.read_text()
    log = folder / "serve.log"
    assert "Traceback" not in (log.read_text() if log.exists() else "")
    end = time.monotonic() + 5.0
    while left := _running(str(folder)):
        assert time.monotonic() < end, left
        time.sleep(0.1)


def _running(words: str) -> list[str]:
    """Command lines of processes that name this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if words in line:
            found.append(line)
    return found
