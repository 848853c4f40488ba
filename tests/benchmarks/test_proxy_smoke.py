"""The benchmark `proxy` runs: no number is judged here, only that it measures what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_proxy(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m benchmarks proxy …`."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "proxy", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_short_run_finds_every_answered_request_in_the_journal(tool) -> None:
    """One round of a second: exit 0 says that Requests and Answers are all there."""
    tool("nginx"), tool("wrk")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("the benchmark wants two cores")
    done = run_proxy("--rounds", "1", "--seconds", "1", "--without", "asgi", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    said = json.loads(done.stdout)
    assert set(said["table"]) == {"nginx", "redpoll"}
    assert said["problems"] == []
    for row in (*said["table"].values(), said["serve"]):
        assert row["rate"] > 0 and row["cpu_us"] > 0 and row["cpu_ratio"] > 0
    assert said["serve"]["state"] == "running"
    assert set(said["serve"]["cpu_us_by_process"]) >= {"gateway", "control", "sealer"}


def test_a_missing_peer_is_a_failure_that_names_the_command(tmp_path) -> None:
    """A benchmark that skips what it compares with would say nothing, and say it quietly."""
    program = tmp_path / "run.py"
    program.write_text(
        "import sys, pathlib\n"
        "from benchmarks import _proxies, proxy\n"
        "_proxies.PEER = pathlib.Path(sys.argv.pop(1))\n"
        "sys.exit(proxy.main())\n"
    )
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "none")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "make peers" in done.stderr
